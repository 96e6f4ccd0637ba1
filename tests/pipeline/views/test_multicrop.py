"""Multi-crop: SEER's numbers by default, and mistakes named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_shards.batch import Draw
from pipeline.views import Crops, MultiCrop
from pipeline.views.draw import VIEW
from tests.pipeline.views.photographs import encoded, photographs


def test_defaults_are_seers() -> None:
    transform = MultiCrop.Config().build()
    assert transform.groups == ((160, 2), (96, 4))
    views = np.concatenate([laid_out(transform, index) for index in range(500)]).reshape(500, 6)
    share = views["height"] * views["width"] / (480 * 640)
    assert share[:, :2].min() >= 0.139
    assert share[:, :2].max() > 0.9
    assert share[:, 2:].min() >= 0.049
    assert share[:, 2:].max() <= 0.141
    assert views["jitter"].mean() == pytest.approx(0.8, abs=0.03)
    assert views["grayscale"].mean() == pytest.approx(0.2, abs=0.03)
    assert (views["sigma"] > 0).mean() == pytest.approx(0.5, abs=0.03)
    assert views["solarise"].sum() == 0


def laid_out(transform: MultiCrop, index: int) -> Any:
    views = np.zeros(6, VIEW)
    transform.lay_out(Draw(0, 0, index), 480, 640, views)
    return views


def test_kinds_of_one_size_share_an_array() -> None:
    kinds = (Crops(count=2, size=64, scale=(0.3, 1.0)), Crops(count=3, size=64, scale=(0.05, 0.3)))
    assert [array.shape for array in MultiCrop.Config(crops=kinds).build().allocate(7)] == [(5, 7, 64, 64, 3)]


def test_more_crops_leave_the_first_ones_as_they_are() -> None:
    large = Crops(count=2, size=24, scale=(0.3, 1.0))
    image = encoded(photographs()[0], "PNG")
    few, more = (
        MultiCrop.Config(crops=(large,)).build(),
        MultiCrop.Config(crops=(large, Crops(count=4, size=12, scale=(0.05, 0.3)))).build(),
    )
    a, b = few.allocate(1), more.allocate(1)
    few.write(image, Draw(0, 0, 0), a, 0)
    more.write(image, Draw(0, 0, 0), b, 0)
    np.testing.assert_array_equal(a[0], b[0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"crops": ()}, "crops is empty"),
        ({"flip": 1.5}, "flip is 1.5; a probability lies between 0 and 1"),
        ({"blur": -0.1}, "blur is -0.1"),
        ({"ratio": (2.0, 1.0)}, r"ratio is \[2.0, 1.0\]; give the least and the greatest"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma"),
        ({"jitter": -1.0}, "jitter is -1.0"),
        ({"jitter": 3.0}, "half the colour circle"),
    ],
)
def test_a_mistake_is_named(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MultiCrop.Config(**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"count": 0, "size": 8, "scale": (0.1, 1.0)}, "count is 0"),
        ({"count": 1, "size": 0, "scale": (0.1, 1.0)}, "size is 0"),
        ({"count": 1, "size": 8, "scale": (0.5, 0.1)}, r"scale is \[0.5, 0.1\]"),
        ({"count": 1, "size": 8, "scale": (0.0, 1.5)}, "scale"),
    ],
)
def test_a_mistake_in_a_kind_of_crop_is_named(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Crops(**settings)
