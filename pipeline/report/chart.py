"""One line chart as SVG: a pure function of its numbers, sized for a phone, coloured by the page's style.

- both axes end on round numbers (1, 2 or 5 times a power of ten); x is the step, from 0, or what `along` says, from
  where the points begin, and by its logarithm where that is asked for;
- a long series is thinned: the mean of each bucket as the line, and from lowest to highest as a pale band behind it;
- a dashed line says what a figure would be by chance, and says so in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from data_shards.markup import Html, tag
from pipeline.report.wording import MINUS, count, figure, percent

LARGE, SMALL = (440, 248), (316, 196)
"""Width and height, in px where the page is wide enough; text keeps its size in both."""
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 26, 30
"""Margins around the plot area."""
BELOW = 18
"""Px more below, where what x is needs a line of its own."""
MOST = 200
"""Points of a series that are drawn; more are thinned to as many."""
DOTTED = 30
"""Series of at most so many points show each one."""
COLOURS = 6
STEP = "step"

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line: its name, (step, value) by rising step, and a colour of the page's style, 1 to `COLOURS`."""

    name: str
    points: Sequence[Point]
    colour: int = 1
    dashed: bool = False


@dataclass(frozen=True)
class Reference:
    """A dashed level and what it means."""

    value: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What to draw. `unit` stands above the y axis; a chart in percent takes shares of 1."""

    title: str
    series: Sequence[Series]
    unit: str = ""
    reference: Reference | None = None
    from_zero: bool = False
    percent: bool = False
    size: tuple[int, int] = LARGE
    along: str = STEP
    logarithmic: bool = False
    """Whether x, all above 0, is spread by its logarithm."""

    def say(self, value: float) -> str:
        """A value of this chart in words."""
        return percent(value) if self.percent else figure(value)

    @property
    def box(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self.size[0], self.size[1] + (BELOW if self.along != STEP else 0)


@dataclass(frozen=True)
class Frame:
    """Where values lie in the picture: the plot area, what x it spans, and the ticks of both axes."""

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    span: tuple[float, float]
    size: tuple[int, int] = LARGE
    logarithmic: bool = False

    @property
    def right(self) -> int:
        return self.size[0] - RIGHT

    @property
    def bottom(self) -> int:
        return self.size[1] - BOTTOM

    @classmethod
    def of(cls, chart: Chart) -> Frame:
        """The frame that holds every point and the reference."""
        points = [point for series in chart.series for point in series.points]
        values = [y for _, y in points]
        if chart.reference is not None:
            values.append(chart.reference.value)
        if chart.from_zero:
            values.append(0.0)
        low, high = min(values), max(values)
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            margin = abs(high) / 10 or 1.0
            low, high = (low if chart.from_zero else low - margin), high + margin
        lines = 4 if chart.size == LARGE else 3
        x_ticks, span = _across([x for x, _ in points], chart)
        return cls(x_ticks, ticks(low, high, lines), span, chart.size, chart.logarithmic)

    def x(self, value: float) -> float:
        start, end = self.span
        share = math.log(value / start) / math.log(end / start) if self.logarithmic else (value - start) / (end - start)
        return LEFT + (self.right - LEFT) * share

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.bottom - (self.bottom - TOP) * (value - low) / (high - low)


def _across(places: Sequence[float], chart: Chart) -> tuple[list[float], tuple[float, float]]:
    """Ticks of x, and the x at the left and right end."""
    low, high = min(places), max(places)
    if chart.logarithmic:
        span = (low, high) if high > low * 1.001 else (low / 2, high * 2)
        return decades(*span), span
    if chart.along == STEP:
        end = max(1.0, high)
        return [x for x in ticks(0, end, 5, whole=True) if x <= end], (0.0, end)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - (abs(low) or 1.0), high + (abs(high) or 1.0)
    found = ticks(low, high, 5)
    return found, (found[0], found[-1])


def decades(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers on a logarithmic axis from low > 0 to high: 1, 2, 5 times powers of ten, or only some powers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits, every in (((1, 2, 5), 1), *(((1,), n) for n in range(1, len(powers) + 1))):
        marks = [float(f"{digit}e{power}") for power in powers if power % every == 0 for digit in digits]
        inside = [mark for mark in marks if low * (1 - 1e-9) <= mark <= high * (1 + 1e-9)]
        if len(inside) <= most:
            break
    return inside if len(inside) > 1 else [low, high]


def ticks(low: float, high: float, about: int, *, whole: bool = False) -> list[float]:
    """Round numbers at equal distances that enclose low < high, about so many of them."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    step = max(1.0, step) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def thin(points: Sequence[Point], most: int = MOST) -> tuple[list[Point], list[tuple[float, float, float]]]:
    """At most so many points with the same course, and the (step, lowest, highest) that they stand for.

    The first and the last point stay as they are. A series that is short enough comes back whole, with no band.
    """
    if len(points) <= most:
        return list(points), []
    buckets = most - 2
    edges = [round(i * len(points) / buckets) for i in range(buckets + 1)]
    line, band = [points[0]], []
    for start, end in pairwise(edges):
        bucket = points[start:end]
        step = sum(x for x, _ in bucket) / len(bucket)
        values = [y for _, y in bucket]
        line.append((step, sum(values) / len(values)))
        band.append((step, min(values), max(values)))
    return [*line, points[-1]], band


def draw(chart: Chart, name: str) -> Html:
    """The chart as an SVG element whose ids begin with `name`, unique on the page."""
    frame = Frame.of(chart)
    parts = [tag("title", chart.title, id=f"{name}-title"), tag("desc", describe(chart), id=f"{name}-desc")]
    parts += [_axes(chart, frame)]
    drawn = [_series(chart, frame, series) for series in chart.series]
    parts += [band for band, _ in drawn] + [line for _, line in drawn]
    if chart.reference is not None:
        parts.append(_reference(chart, chart.reference, frame))
    box = "0 0 {} {}".format(*chart.box)
    return tag("svg", *parts, viewBox=box, role="img", aria_labelledby=f"{name}-title {name}-desc")


def describe(chart: Chart) -> str:
    """The chart in words, for those who cannot see it."""
    said = []
    for series in chart.series:
        (start, first), (end, last) = series.points[0], series.points[-1]
        who = f"{series.name}: " if len(chart.series) > 1 else ""
        if len(series.points) == 1:
            said.append(f"{who}{chart.say(first)} at {chart.along} {_place(start)}, the only record.")
            continue
        values = [y for _, y in series.points]
        said.append(
            f"{who}from {chart.say(first)} at {chart.along} {_place(start)} "
            f"to {chart.say(last)} at {chart.along} {_place(end)}; "
            f"lowest {chart.say(min(values))}, highest {chart.say(max(values))}."
        )
    if chart.reference is not None:
        said.append(f"Dashed line: {chart.reference.label}.")
    return " ".join(said)


def _axes(chart: Chart, frame: Frame) -> Html:
    parts = []
    for value, label in zip(frame.y_ticks, _labels(chart, frame.y_ticks), strict=True):
        y = frame.y(value)
        parts.append(tag("line", x1=LEFT, x2=frame.right, y1=_round(y), y2=_round(y), class_="grid"))
        parts.append(tag("text", label, x=LEFT - 8, y=_round(y + 4), class_="tick y"))
    for value in frame.x_ticks:
        x = _round(frame.x(value))
        parts.append(tag("line", x1=x, x2=x, y1=frame.bottom, y2=frame.bottom + 4, class_="mark"))
        parts.append(tag("text", _short(value), x=x, y=frame.bottom + 19, class_="tick x"))
    if chart.along == STEP:
        parts.append(tag("text", chart.along, x=LEFT - 8, y=frame.bottom + 19, class_="tick y"))
    else:
        middle = _round((LEFT + frame.right) / 2)
        parts.append(tag("text", chart.along, x=middle, y=frame.bottom + 19 + BELOW, class_="tick x"))
    if chart.unit:
        parts.append(tag("text", chart.unit, x=0, y=11, class_="tick"))
    return tag("g", *parts, class_="axes")


def _series(chart: Chart, frame: Frame, series: Series) -> tuple[Html, Html]:
    """The band and the line of a series."""
    line, band = thin(series.points)
    outline = [(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]
    shape = tag("path", d=f"{_path(frame, outline)}Z", class_=f"band c{series.colour}") if band else Html("")
    parts = [tag("path", d=_path(frame, line), class_="line")]
    if len(line) <= DOTTED:
        parts += [
            tag(
                "circle",
                tag("title", f"{chart.along} {_place(x)}: {chart.say(y)}"),
                cx=_round(frame.x(x)),
                cy=_round(frame.y(y)),
                r=3 if len(line) > 1 else 4,
            )
            for x, y in line
        ]
    return shape, tag("g", *parts, class_=f"series c{series.colour}{' dashed' if series.dashed else ''}")


def _reference(chart: Chart, reference: Reference, frame: Frame) -> Html:
    """The dashed line with its label at the right, on the side where the curves are not."""
    y = frame.y(reference.value)
    ends = [series.points[-1][1] for series in chart.series]
    above = reference.value >= sum(ends) / len(ends)
    at = y - 6 if (above and y - 18 > TOP - 14) or y + 16 > frame.bottom else y + 15
    return tag(
        "g",
        tag("line", x1=LEFT, x2=frame.right, y1=_round(y), y2=_round(y)),
        tag("text", reference.label, x=frame.right, y=_round(at)),
        class_="reference",
    )


def _path(frame: Frame, points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_round(frame.x(x))} {_round(frame.y(y))}" for x, y in points)


def _labels(chart: Chart, values: Sequence[float]) -> list[str]:
    """Tick labels with as many decimals as their distance needs."""
    scale = 100 if chart.percent else 1
    step = (values[1] - values[0]) * scale
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals > 4 or abs(values[-1]) >= 1e6:
        return ["0" if value == 0 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e") for value in values]
    suffix = " %" if chart.percent else ""
    return [f"{value * scale:,.{decimals}f}{suffix}".replace("-", MINUS) for value in values]


def _short(value: float) -> str:
    """1,500 · 20k · 1.5M · 0.25 · 1e-5"""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M".replace("-", MINUS)
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k".replace("-", MINUS)
    if value == round(value):
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.4g}".replace("e-0", "e-").replace("-", MINUS)


def _place(value: float) -> str:
    """Where on the x axis: a count, or a number."""
    return count(value) if value == round(value) else figure(value)


def _round(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
