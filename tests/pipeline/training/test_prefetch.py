"""Without a GPU, prefetching does nothing; with one, see test_cuda.py."""

from __future__ import annotations

import numpy as np
import torch

from data_shards.batch import Batch, Draw
from pipeline.training.prefetch import prefetched, views_of
from pipeline.views import Crops, MultiCrop
from tests.pipeline.views.photographs import encoded, photographs

CPU = torch.device("cpu")


def made(photometric: str) -> Batch:
    """A batch of three photographs."""
    views = MultiCrop.Config(
        crops=(Crops(count=2, size=16, scale=(0.3, 1.0)),),
        photometric=photometric,  # type: ignore[arg-type]
    ).build()
    arrays = views.allocate(3)
    for row, picture in enumerate(photographs()[:3]):
        views.write(encoded(picture, "BMP"), Draw(0, 0, row), arrays, row)
    return Batch(arrays, np.arange(3), np.zeros(3, np.int64), 0, 3, 0.0)


def test_on_a_cpu_the_loader_is_given_back_and_views_share_its_memory() -> None:
    batches = [made("cpu")]
    assert prefetched(batches, CPU) is batches
    views = views_of(batches[0], CPU)
    assert views.crops[0].data_ptr() == batches[0].arrays[0].ctypes.data
    assert views.indices.data_ptr() == batches[0].indices.ctypes.data


def test_on_a_cpu_colours_that_the_loader_left_are_changed() -> None:
    views = views_of(made("device"), CPU)
    whole = views_of(made("cpu"), CPU)
    assert views.colours is None
    difference = (views.crops[0].float() - whole.crops[0].float()).abs()
    assert difference.mean() < 1
