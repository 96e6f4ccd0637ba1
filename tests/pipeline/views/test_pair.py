"""Two views: one law of boxes, and blur and solarisation of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_shards.batch import Draw
from pipeline.views import Pair
from pipeline.views.draw import VIEW


def test_two_crops_of_one_size_share_an_array() -> None:
    assert [array.shape for array in Pair.Config(size=40).build().allocate(3)] == [(2, 3, 40, 40, 3)]


def test_blur_and_solarisation_differ_as_in_byol() -> None:
    transform = Pair.Config().build()
    views = np.zeros((2000, 2), VIEW)
    for index in range(2000):
        transform.lay_out(Draw(0, 0, index), 300, 400, views[index])
    np.testing.assert_allclose((views["sigma"] > 0).mean(0), [1.0, 0.1], atol=0.02)
    np.testing.assert_allclose(views["solarise"].mean(0), [0.0, 0.2], atol=0.03)
    np.testing.assert_allclose(views["jitter"].mean(0), [0.8, 0.8], atol=0.03)
    for field, low, high in (("brightness", 0.6, 1.4), ("saturation", 0.8, 1.2), ("hue", -0.1, 0.1)):
        assert low - 1e-6 <= views[field].min() < views[field].max() <= high + 1e-6
    assert np.abs(np.corrcoef(views["top"][:, 0], views["top"][:, 1])[0, 1]) < 0.08


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 0}, "size is 0"),
        ({"blur": (1.0, 2.0)}, "blur is 2.0"),
        ({"solarise": (-1.0, 0.0)}, "solarise is -1.0"),
        ({"scale": (0.0, 1.0)}, "scale"),
    ],
)
def test_a_mistake_is_named(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Pair.Config(**settings)
