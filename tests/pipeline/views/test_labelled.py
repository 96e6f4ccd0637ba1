"""One view a sample: evaluation equals torchvision's Resize and CenterCrop, training its RandomResizedCrop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from data_shards.batch import Draw
from pipeline.views import Evaluation, Labelled
from pipeline.views.draw import VIEW
from tests.pipeline.views.photographs import encoded, photograph


def evaluated(pixels: np.ndarray, size: int, resize: int, **how: Any) -> np.ndarray:
    transform = Evaluation.Config(size=size, resize=resize, **how).build()
    arrays = transform.allocate(1)
    transform.write(encoded(pixels, "PNG"), Draw(0, 0, 0), arrays, 0)
    return arrays[0][0, 0]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "resize"), [(224, 256), (64, 64), (63, 72), (32, 37), (1, 1)])
@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (101, 100), (64, 64), (31, 77), (3, 500)])
def test_evaluation_is_torchvisions_on_pillow(
    height: int, width: int, size: int, resize: int, interpolation: str
) -> None:
    pixels = photograph(height, width)
    theirs = Compose([Resize(resize, InterpolationMode(interpolation)), CenterCrop(size)])(Image.fromarray(pixels))
    ours = evaluated(pixels, size, resize, interpolation=interpolation)
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1


def test_an_image_of_the_right_size_is_left_alone() -> None:
    pixels = photograph(32, 32)
    np.testing.assert_array_equal(evaluated(pixels, 32, 32), pixels)


def test_evaluation_does_not_depend_on_the_draw() -> None:
    transform, image = Evaluation.Config(size=24, resize=28).build(), encoded(photograph(60, 50))
    arrays = transform.allocate(2)
    transform.write(image, Draw(0, 0, 0), arrays, 0)
    transform.write(image, Draw(9, 8, 7), arrays, 1)
    np.testing.assert_array_equal(arrays[0][:, 0], arrays[0][:, 1])


def test_a_crop_larger_than_the_image_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="resize is 200, less than size 224"):
        Evaluation.Config(size=224, resize=200)


def test_training_views_are_plain_random_crops_by_default() -> None:
    transform = Labelled.Config(size=32).build()
    assert transform.groups == ((32, 1),)
    views = np.zeros(1000, VIEW)
    for index in range(1000):
        transform.lay_out(Draw(0, 0, index), 300, 400, views[index : index + 1])
    share = views["height"] * views["width"] / 120_000
    assert share.min() < 0.12
    assert share.max() > 0.9
    assert views["flip"].mean() == pytest.approx(0.5, abs=0.05)
    for field in ("jitter", "grayscale", "sigma", "solarise"):
        assert views[field].sum() == 0


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_training_views_are_resized_by_the_filter_of_the_recipe(interpolation: Any) -> None:
    pixels = photograph(80, 80)
    transform = Labelled.Config(
        size=48, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0, interpolation=interpolation
    ).build()
    arrays = transform.allocate(1)
    transform.write(encoded(pixels, "PNG"), Draw(0, 0, 0), arrays, 0)
    theirs = np.asarray(Resize(48, InterpolationMode(interpolation))(Image.fromarray(pixels)))
    assert np.abs(arrays[0][0, 0].astype(int) - theirs).max() <= 1


def test_training_views_can_be_jittered() -> None:
    transform = Labelled.Config(size=32, jitter=0.5, jitter_probability=1.0, grayscale=1.0).build()
    view = np.zeros(1, VIEW)
    transform.lay_out(Draw(0, 0, 0), 300, 400, view)
    assert view["jitter"][0] == 1
    assert view["grayscale"][0] == 1
    assert 0.6 <= view["brightness"][0] <= 1.4
