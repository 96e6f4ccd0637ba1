"""Draws: equal to a second implementation, distributed as torchvision's, blind to what they should not see."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from data_shards.splitmix import key_of, uniform
from pipeline.views.draw import LAW, VIEW, Law, draw_views

SWAV = Law(
    size=96,
    scale=(0.05, 0.14),
    flip=0.5,
    jitter=1.0,
    jitter_probability=0.8,
    grayscale=0.2,
    blur=0.5,
    solarise=0.1,
)


def drawn(
    laws: list[Law], height: int, width: int, seed: int = 0, epoch: int = 0, index: int = 0
) -> tuple[NDArray[Any], int]:
    views = np.zeros(len(laws), VIEW)
    reduction = draw_views(seed, epoch, index, height, width, np.array([law.record() for law in laws], LAW), views)
    return views, reduction


def many(law: Law, height: int, width: int, count: int, seed: int = 0) -> NDArray[Any]:
    return np.concatenate([drawn([law], height, width, seed, 0, index)[0] for index in range(count)])


def by_hand(law: Law, height: int, width: int, *parts: int) -> dict[str, Any]:
    """A view from the same numbers, in plain Python."""
    u = uniform(64, key_of(*parts))
    view: dict[str, Any] = {}
    for trial in range(10):
        area = height * width * (law.scale[0] + (law.scale[1] - law.scale[0]) * u[4 * trial])
        logs = math.log(law.ratio[0]), math.log(law.ratio[1])
        ratio = math.exp(logs[0] + (logs[1] - logs[0]) * u[4 * trial + 1])
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            view |= {"height": h, "width": w}
            view |= {"top": int(u[4 * trial + 2] * (height - h + 1)), "left": int(u[4 * trial + 3] * (width - w + 1))}
            break
    view["flip"] = u[40] < law.flip
    view["jitter"] = u[41] < law.jitter_probability
    for slot, field, width_ in zip(
        (42, 43, 44), ("brightness", "contrast", "saturation"), law.jitter_ranges[:3], strict=True
    ):
        low, high = max(0.0, 1 - law.jitter * width_), 1 + law.jitter * width_
        view[field] = np.float32(low + (high - low) * u[slot])
    view["hue"] = np.float32(law.jitter * law.jitter_ranges[3] * (2 * u[45] - 1))
    order = [0, 1, 2, 3]
    for i, number in ((3, u[48]), (2, u[47]), (1, u[46])):
        j = int(number * (i + 1))
        order[i], order[j] = order[j], order[i]
    view["order"] = order
    view["grayscale"] = u[49] < law.grayscale
    low, high = law.blur_sigma
    view["sigma"] = np.float32(low + (high - low) * u[51]) if u[50] < law.blur else 0
    view["solarise"] = u[52] < law.solarise
    return view


@pytest.mark.parametrize(("height", "width"), [(375, 500), (32, 32), (1200, 640)])
def test_every_field_equals_a_drawing_by_hand(height: int, width: int) -> None:
    for index in range(100):
        views, _ = drawn([SWAV, SWAV], height, width, 7, 3, index)
        for number, view in enumerate(views):
            for field, value in by_hand(SWAV, height, width, 7, 3, index, number).items():
                np.testing.assert_allclose(view[field], value, rtol=1e-6, atol=1e-7, err_msg=field)


def test_golden_boxes() -> None:
    # A change here changes the crops of every run that is resumed: it needs a line in the changelog.
    views, _ = drawn([SWAV, SWAV], 375, 500, seed=1, epoch=2, index=3)
    boxes = [tuple(int(view[f]) for f in ("top", "left", "height", "width", "flip")) for view in views]
    assert boxes == [(272, 306, 97, 127, 0), (180, 349, 124, 145, 1)]


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(375, 500, (0.14, 1.0)), (333, 500, (0.05, 0.14)), (32, 32, (0.3, 1.0))]
)
def test_boxes_are_distributed_as_torchvision_draws_them(height: int, width: int, scale: tuple[float, float]) -> None:
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(3000)], float)
    views = many(Law(size=32, scale=scale), height, width, 3000)
    ours = np.stack([views[field] for field in ("top", "left", "height", "width")], 1)
    for column in range(4):
        assert stats.ks_2samp(theirs[:, column], ours[:, column]).pvalue > 0.005
    assert stats.ks_2samp(theirs[:, 2] * theirs[:, 3], ours[:, 2] * ours[:, 3]).pvalue > 0.005
    assert stats.ks_2samp(theirs[:, 3] / theirs[:, 2], ours[:, 3] / ours[:, 2]).pvalue > 0.005


@pytest.mark.parametrize(("height", "width"), [(1, 100), (100, 1), (1, 1), (10, 1000), (1000, 10)])
def test_where_no_box_fits_the_fallback_is_torchvisions(height: int, width: int) -> None:
    law = Law(size=8, scale=(0.9, 1.0))
    views = many(law, height, width, 20)
    theirs = RandomResizedCrop.get_params(torch.zeros(3, height, width), [0.9, 1.0], [3 / 4, 4 / 3])
    assert {tuple(int(view[f]) for f in ("top", "left", "height", "width")) for view in views} == {theirs}


def test_boxes_lie_inside_the_image() -> None:
    for height, width in ((1, 1), (2, 3), (5, 400), (31, 33)):
        views = many(Law(size=8, scale=(0.01, 1.0)), height, width, 300)
        assert (views["top"] >= 0).all()
        assert (views["left"] >= 0).all()
        assert (views["height"] >= 1).all()
        assert (views["width"] >= 1).all()
        assert (views["top"] + views["height"] <= height).all()
        assert (views["left"] + views["width"] <= width).all()


def test_odds_and_ranges_are_those_of_the_law() -> None:
    views = many(SWAV, 300, 400, 8000)
    for field, probability in (("flip", 0.5), ("jitter", 0.8), ("grayscale", 0.2), ("solarise", 0.1)):
        assert stats.binomtest(int(views[field].sum()), len(views), probability).pvalue > 0.005
    blurred = views["sigma"][views["sigma"] > 0]
    assert stats.binomtest(len(blurred), len(views), 0.5).pvalue > 0.005
    uniforms = {"brightness": (0.2, 1.6), "contrast": (0.2, 1.6), "saturation": (0.2, 1.6), "hue": (-0.2, 0.4)}
    for field, (low, extent) in uniforms.items():
        assert stats.kstest(views[field], "uniform", (low, extent)).pvalue > 0.005
    assert stats.kstest(blurred, "uniform", (0.1, 1.9)).pvalue > 0.005
    counts = np.unique(views["order"], axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 0.005


def test_draws_of_one_view_are_not_correlated_with_each_other() -> None:
    views = many(SWAV, 300, 400, 4000)
    columns = np.stack(
        [views[f].astype(float) for f in ("top", "left", "flip", "hue", "brightness", "contrast", "jitter")]
    )
    off_diagonal = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(off_diagonal).max() < 0.06


def test_a_view_does_not_depend_on_the_others() -> None:
    small = Law(size=16, scale=(0.05, 0.3), blur=1.0)
    alone, _ = drawn([SWAV], 300, 400, 5, 6, 7)
    among, _ = drawn([SWAV, small, small], 300, 400, 5, 6, 7)
    assert alone[0] == among[0]
    assert among[1] != among[2]


def test_odds_of_colour_leave_boxes_where_they_are() -> None:
    plain, loud = Law(size=96, scale=(0.05, 0.14)), SWAV
    for index in range(20):
        a, b = drawn([plain], 300, 400, 1, 1, index)[0], drawn([loud], 300, 400, 1, 1, index)[0]
        assert [a[f] for f in ("top", "left", "height", "width")] == [b[f] for f in ("top", "left", "height", "width")]


def test_seed_epoch_and_index_each_give_other_draws() -> None:
    draws = {tuple(drawn([SWAV], 900, 900, *parts)[0][["top", "left", "hue"]][0]) for parts in np.ndindex(5, 5, 5)}
    assert len(draws) == 125


def test_a_jitter_of_no_strength_is_never_applied() -> None:
    assert many(Law(size=8, scale=(0.1, 1), jitter=0.0, jitter_probability=1.0), 50, 50, 50)["jitter"].sum() == 0


def test_factors_never_become_negative() -> None:
    views = many(Law(size=8, scale=(0.1, 1), jitter=1.0, jitter_ranges=(1.5, 1.5, 1.5, 0.5)), 50, 50, 500)
    for field in ("brightness", "contrast", "saturation"):
        assert views[field].min() >= 0


def test_reduction_is_the_greatest_that_keeps_every_pixel() -> None:
    laws = [Law(size=40, scale=(0.2, 1.0)), Law(size=16, scale=(0.05, 0.2))]
    seen = set()
    for side in (40, 80, 200, 500, 900):
        for index in range(40):
            views, reduction = drawn(laws, side, side, 0, 0, index)
            density = min((min(view["height"], view["width"]) / view["size"]) for view in views)
            assert reduction == max(f for f in (1, 2, 4, 8) if f == 1 or f <= density)
            seen.add(reduction)
    assert seen == {1, 2, 4, 8}
