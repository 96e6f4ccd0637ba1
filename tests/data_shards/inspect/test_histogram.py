"""A histogram counts every value once, marks the median, and labels its axis without overlap."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.inspect.histogram import SIZE, Histogram, binned, draw, median, percent

VALUES = st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=60)


def of(values: list[float], weights: list[float] | None = None) -> Histogram:
    return Histogram(title="t", values=values, weights=weights or [1.0] * len(values), say=lambda value: f"{value:g}")


@given(VALUES)
def test_every_value_is_in_one_bar(values: list[float]) -> None:
    edges, shares = binned(of(values))
    assert sum(shares) == pytest.approx(1)
    assert edges == sorted(edges)
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        inside = sum(low <= value < high or (value == high == edges[-1]) for value in values)
        assert share == pytest.approx(inside / len(values))


def test_a_sample_that_stands_for_many_counts_as_many() -> None:
    assert binned(of([1.0, 10.0], [1.0, 3.0]))[1][-1] == pytest.approx(0.75)
    assert median(of([1.0, 10.0], [1.0, 3.0])) == 10.0
    assert median(of([1.0, 10.0], [3.0, 1.0])) == 1.0


@given(VALUES)
def test_the_median_is_that_of_the_sorted_values(values: list[float]) -> None:
    assert median(of(values)) in np.percentile(values, [50], method="lower").tolist()


@given(VALUES)
def test_the_picture_is_well_formed_and_its_labels_lie_apart(values: list[float]) -> None:
    svg = ElementTree.fromstring(draw(of(values), "h"))
    ticks = [float(text.get("x", "")) for text in svg.iter("text") if "tick" in (text.get("class") or "")]
    assert ticks == sorted(ticks)
    assert all(0 <= tick <= SIZE[0] for tick in ticks)
    assert all(after - before > 30 for before, after in pairwise(ticks))
    for bar in svg.iter("rect"):
        assert float(bar.get("y", "")) >= 0
        assert float(bar.get("x", "")) + float(bar.get("width", "")) <= SIZE[0]


def test_a_small_share_is_not_called_nothing() -> None:
    assert [percent(share) for share in (1.0, 0.256, 0.0256, 0.0006, 0.0001)] == [
        "100%",
        "26%",
        "2.6%",
        "0.1%",
        "below 0.1%",
    ]
