"""A chart shows its numbers where its own axes say they are."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.chart import (
    LARGE,
    LEFT,
    MOST,
    SMALL,
    TOP,
    Chart,
    Frame,
    Reference,
    Series,
    decades,
    describe,
    draw,
    thin,
    ticks,
)

VALUES = st.floats(-1e30, 1e30).filter(lambda value: value == 0 or abs(value) > 1e-30)
SERIES = st.lists(
    st.tuples(st.integers(0, 10**7).map(float), VALUES), min_size=1, max_size=40, unique_by=lambda p: p[0]
)


def loss(records: int = 91, reference: float = 4.6052) -> Chart:
    points = [(float(max(1, 10 * i)), 4.8 - 0.015 * i) for i in range(records)]
    return Chart(title="Loss", series=[Series("pretrain", points)], reference=Reference(reference, "ln K, a guess"))


def drawn_points(svg: str) -> list[tuple[float, float]]:
    paths = re.findall(r'<path d="M([^"]*)" class="line">', svg)
    assert paths
    return [(float(x), float(y)) for path in paths for x, y in (pair.split() for pair in path.split("L"))]


def y_scale(svg: str) -> tuple[float, float]:
    """Slope and offset of value → y, told from the labels and grid lines alone."""
    lines = [float(y) for y in re.findall(r'<line [^>]*y2="([^"]*)" class="grid">', svg)]
    labels = re.findall(r'class="tick y">([^<]*)</text>', svg)[: len(lines)]
    values = [float(label.replace("−", "-").replace(",", "").rstrip(" %")) for label in labels]
    slope = (lines[-1] - lines[0]) / (values[-1] - values[0])
    return slope, lines[0] - slope * values[0]


@pytest.mark.parametrize("level", [4.6052, 5.99, 3.3])
def test_the_line_of_ln_k_lies_at_the_height_that_the_axis_gives_it(level: float) -> None:
    svg = draw(loss(reference=level), "c")
    slope, offset = y_scale(svg)
    (y,) = re.findall(r'<g class="reference"><line [^>]*y1="([^"]*)"|y1="([^"]*)" y2="[^"]*"></line><text', svg)[:1]
    assert float(y[0] or y[1]) == pytest.approx(slope * level + offset, abs=0.02)
    assert "ln K, a guess" in svg


def test_every_record_lies_where_the_axes_say() -> None:
    chart = loss(records=30)
    svg = draw(chart, "c")
    slope, offset = y_scale(svg)
    for (_, y), (_, value) in zip(drawn_points(svg), chart.series[0].points, strict=True):
        assert y == pytest.approx(slope * value + offset, abs=0.02)


@given(points=SERIES, reference=st.none() | VALUES, from_zero=st.booleans(), size=st.sampled_from([LARGE, SMALL]))
def test_points_stay_inside_the_plot_and_steps_run_to_the_right(
    points: list[tuple[float, float]], reference: float | None, from_zero: bool, size: tuple[int, int]
) -> None:
    chart = Chart(
        title="Anything",
        series=[Series("run", sorted(points))],
        reference=None if reference is None else Reference(reference, "level"),
        from_zero=from_zero,
        size=size,
    )
    frame, drawn = Frame.of(chart), drawn_points(draw(chart, "c"))
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    for x, y in drawn:
        assert frame.x(0) - 0.01 <= x <= frame.right + 0.01
        assert TOP - 0.01 <= y <= frame.bottom + 0.01


@given(low=VALUES, span=st.floats(1e-3, 1e3), about=st.integers(2, 8))
def test_ticks_are_round_equidistant_and_enclose_the_values(low: float, span: float, about: int) -> None:
    low %= 100
    found = ticks(low, low + span, about)
    step = found[1] - found[0]
    assert found[0] <= low + 1e-9 * step
    assert found[-1] >= low + span - 1e-9 * max(1, abs(low) + span)
    assert [b - a for a, b in pairwise(found)] == pytest.approx([step] * (len(found) - 1), rel=1e-6)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - digit) for digit in (1, 2, 5, 10)) < 1e-6
    assert 2 <= len(found) <= about + 3


@pytest.mark.parametrize("records", [1, 2, MOST, MOST + 1, 10_000])
def test_a_series_of_any_length_is_drawn_with_few_points_that_keep_its_ends_and_extremes(records: int) -> None:
    points = [(float(i), math.sin(i / 500) + 0.3 * (-1) ** i) for i in range(records)]
    line, band = thin(points)
    assert len(line) <= MOST
    assert (line[0], line[-1]) == (points[0], points[-1])
    if records <= MOST:
        assert (line, band) == (points, [])
    else:
        assert min(low for _, low, _ in band) == min(y for _, y in points)
        assert max(high for _, _, high in band) == max(y for _, y in points)
    svg = draw(Chart(title="Anything", series=[Series("run", points)]), "c")
    assert len(svg) < 30_000
    assert ('class="band' in svg) == (records > MOST)


def test_one_record_is_a_dot_and_is_called_the_only_one() -> None:
    chart = Chart(title="Loss", series=[Series("run", [(7.0, 2.5)])])
    assert draw(chart, "c").count("<circle") == 1
    assert describe(chart) == "2.50 at step 7, the only record."


def test_the_description_tells_the_course_to_those_who_cannot_see_it() -> None:
    chart = Chart(title="kNN", series=[Series("run", [(0.0, 0.36), (50.0, 0.7), (90.0, 0.61)])], percent=True)
    assert describe(chart) == (
        "from 36.0\N{NO-BREAK SPACE}% at step 0 to 61.0\N{NO-BREAK SPACE}% at step 90; "
        "lowest 36.0\N{NO-BREAK SPACE}%, highest 70.0\N{NO-BREAK SPACE}%."
    )
    assert 'aria-labelledby="c-title c-desc"' in draw(chart, "c")


def test_on_a_logarithmic_axis_equal_factors_are_equal_distances() -> None:
    points = [(10.0 ** (i / 2), float(i)) for i in range(-6, 7)]
    chart = Chart(title="Rates", series=[Series("grid", points)], along="learning rate", logarithmic=True)
    svg = draw(chart, "c")
    across = [x for x, _ in drawn_points(svg)]
    assert [b - a for a, b in pairwise(across)] == pytest.approx([(across[-1] - across[0]) / 12] * 12, abs=0.02)
    marks = re.findall(r'<text x="([^"]*)" y="[^"]*" class="tick x">([^<]*)</text>', svg)
    at = {label: float(x) for x, label in marks}
    assert at["0.001"] == pytest.approx(across[0], abs=0.02)
    assert at["1"] == pytest.approx(across[6], abs=0.02)
    assert at["1,000"] == pytest.approx(across[-1], abs=0.02)
    assert "learning rate" in at
    assert "at learning rate 0.00100 to" in describe(chart)


@given(low=st.floats(1e-30, 1e30), factor=st.floats(1.01, 1e12))
def test_marks_of_a_logarithmic_axis_are_few_rising_and_inside(low: float, factor: float) -> None:
    found = decades(low, low * factor)
    assert 2 <= len(found) <= 7
    assert found == sorted(set(found))
    assert found[0] >= low * (1 - 1e-6)
    assert found[-1] <= low * factor * (1 + 1e-6)


@pytest.mark.parametrize("points", [[(0.2, 1.0)], [(0.5, 1.0), (1.0, 2.0)], [(-3.0, 0.0), (1e-4, 1.0), (7e5, 0.5)]])
def test_an_axis_that_is_no_step_holds_the_points_wherever_they_begin(points: list[tuple[float, float]]) -> None:
    chart = Chart(title="Anything", series=[Series("run", points)], along="confidence")
    frame = Frame.of(chart)
    assert frame.span[0] <= points[0][0] <= points[-1][0] <= frame.span[1]
    for (x, _), (value, _) in zip(drawn_points(draw(chart, "c")), points, strict=True):
        assert LEFT - 0.01 <= x <= frame.right + 0.01
        assert x == pytest.approx(frame.x(value), abs=0.02)
