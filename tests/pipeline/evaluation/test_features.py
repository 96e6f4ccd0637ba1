"""Extraction of features from a sequence of batches, as a loader gives them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from data_shards.batch import Batch
from pipeline.evaluation.features import extract
from tests.pipeline.networks import small_backbone

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)


def batches(size: int) -> Iterator[Batch]:
    """Batches that share one array, as the loader's ring does."""
    shared = np.zeros((1, size, 16, 16, 3), np.uint8)
    numbers = np.zeros(size, np.int64)
    labels = np.zeros(size, np.int64)
    for number, start in enumerate(range(0, 10, size)):
        rows = min(size, 10 - start)
        shared[0, :rows] = PIXELS[start : start + rows]
        numbers[:rows] = np.arange(start, start + rows)
        labels[:rows] = np.where(numbers[:rows] == 4, -1, numbers[:rows] % 3)
        yield Batch((shared[:, :rows],), numbers[:rows], labels[:rows], number, start + rows, 0.0)


class Counted:
    def __init__(self) -> None:
        self.samples = 0

    def update(self, n: int) -> None:
        self.samples += n


def test_features_are_those_of_the_backbone_in_order_whatever_the_batches() -> None:
    torch.manual_seed(0)
    backbone, progress = small_backbone().train(), Counted()
    found = extract(backbone, batches(4), progress=progress)
    assert backbone.training
    assert progress.samples == 10
    assert found.indices.tolist() == list(range(10))
    assert found.labels.tolist() == [0, 1, 2, 0, -1, 2, 0, 1, 2, 0]
    crops = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).unsqueeze(0)
    with torch.no_grad():
        expected = backbone.eval()(backbone.prepare(crops))
    torch.testing.assert_close(found.features, expected)
    assert found.labelled().indices.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_bf16_features_are_returned_in_fp32_and_close() -> None:
    torch.manual_seed(0)
    backbone = small_backbone()
    exact, quick = extract(backbone, batches(5)), extract(backbone, batches(5), precision=torch.bfloat16)
    assert quick.features.dtype == torch.float32
    torch.testing.assert_close(quick.features, exact.features, rtol=0.1, atol=0.05)


def test_no_batches_give_no_features() -> None:
    found = extract(small_backbone(), [])
    assert found.features.shape == (0, 16)
    assert len(found.labels) == len(found.indices) == 0


def test_what_stands_in_for_a_bad_sample_is_not_counted_as_it() -> None:
    torch.manual_seed(0)
    backbone, progress = small_backbone(), Counted()
    whole = next(iter(batches(5)))
    bad = replace(whole, indices=np.array([0, 1, 4, 3, 4]), wanted=np.arange(5))
    found = extract(backbone, [bad], progress=progress)
    assert found.indices.tolist() == [0, 1, 3, 4]
    assert len(found.features) == len(found.labels) == 4
    assert progress.samples == 5
