"""Views share the loader's memory, and come out of `normalise` as torchvision normalises them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference

from data_shards.batch import Batch
from pipeline.views import IMAGENET_MEAN, IMAGENET_STD, Views, normalise


@pytest.fixture
def batch() -> Batch:
    random = np.random.default_rng(0)
    arrays = tuple(random.integers(0, 256, (v, 5, s, s, 3), np.uint8) for v, s in ((2, 16), (4, 8)))
    return Batch(arrays, np.arange(10, 15), np.array([0, 1, -1, 2, 1]), number=3, consumed=20, wait=0.0)


def test_crops_share_memory_with_the_batch_in_channels_last(batch: Batch) -> None:
    views = Views.of(batch)
    assert views.sizes == (16, 8)
    for crops, array in zip(views.crops, batch.arrays, strict=True):
        assert crops.shape == (*array.shape[:2], 3, *array.shape[2:4])
        assert crops.dtype == torch.uint8
        assert crops.data_ptr() == array.ctypes.data
        images = crops.flatten(0, 1)
        assert images.data_ptr() == crops.data_ptr()
        assert images.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_array_equal(crops.permute(0, 1, 3, 4, 2).numpy(), array)
    assert views.indices.tolist() == [10, 11, 12, 13, 14]
    assert views.labels.tolist() == [0, 1, -1, 2, 1]


def test_normalisation_is_torchvisions(batch: Batch) -> None:
    crops = Views.of(batch).crops[0].flatten(0, 1)
    ours = normalise(crops)
    expected = reference.normalize(crops.float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    assert ours.dtype == torch.float32
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_is_one_rounding_away(batch: Batch) -> None:
    crops = Views.of(batch).crops[1].flatten(0, 1)
    half = normalise(crops, dtype=torch.bfloat16)
    assert half.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(half, normalise(crops).to(torch.bfloat16))


def test_other_channel_statistics_are_used(batch: Batch) -> None:
    crops = Views.of(batch).crops[0][0]
    torch.testing.assert_close(normalise(crops, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), crops / 255)


def test_normalisation_leaves_the_batch_as_it_is(batch: Batch) -> None:
    before = batch.arrays[0].copy()
    normalise(Views.of(batch).crops[0][0])
    np.testing.assert_array_equal(batch.arrays[0], before)


def test_constants_made_during_inference_serve_in_training(batch: Batch) -> None:
    crops = Views.of(batch).crops[0][0]
    statistics = ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))  # not used elsewhere, so that this is their first use
    with torch.inference_mode():
        normalise(crops, *statistics)
    scale = torch.ones(1, requires_grad=True)
    (normalise(crops, *statistics) * scale).sum().backward()
    assert scale.grad is not None


def test_views_move_to_another_device(batch: Batch) -> None:
    moved = Views.of(batch).to("meta")
    assert {tensor.device.type for tensor in (*moved.crops, moved.indices, moved.labels)} == {"meta"}
    assert moved.sizes == (16, 8)
