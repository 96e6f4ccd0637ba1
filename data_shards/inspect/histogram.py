"""A histogram as SVG: a pure function of its numbers, coloured by the page's style.

The axis is logarithmic: what is measured of images (pixels, bytes, proportions) spreads over orders of magnitude, and
doubling means the same everywhere. Bars are shares of the whole; the median is marked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_shards.markup import Html, tag

SIZE = (440, 190)
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, 4, 22, 26
_BINS = 28
_NARROWEST = 2.0  # largest over smallest value on the axis, at least
_TICK_WIDTH = 58  # px a label needs


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """What to draw: positive values, how much each of them counts, and how to say one."""

    title: str
    values: Sequence[float]
    weights: Sequence[float]
    say: Callable[[float], str]


def binned(histogram: Histogram) -> tuple[list[float], list[float]]:
    """Edges of the bars, evenly spaced in the logarithm, and the share of the whole in each."""
    values = np.asarray(histogram.values, np.float64)
    low, high = float(values.min()), float(values.max())
    if high < low * _NARROWEST:
        middle = math.sqrt(low * high)
        low, high = min(low, middle / math.sqrt(_NARROWEST)), max(high, middle * math.sqrt(_NARROWEST))
    edges = np.geomspace(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high  # rounding must leave none outside
    shares, _ = np.histogram(values, edges, weights=np.asarray(histogram.weights, np.float64))
    return edges.tolist(), (shares / max(shares.sum(), 1e-300)).tolist()


def median(histogram: Histogram) -> float:
    """The value in the middle, by weight."""
    order = np.argsort(histogram.values)
    reached = np.cumsum(np.asarray(histogram.weights, np.float64)[order])
    return float(np.asarray(histogram.values)[order][np.searchsorted(reached, reached[-1] / 2)])


def draw(histogram: Histogram, name: str) -> Html:
    """The histogram as an SVG element whose ids begin with `name`, unique on the page."""
    edges, shares = binned(histogram)
    low, high = math.log(edges[0]), math.log(edges[-1])
    width, bottom = SIZE[0] - _LEFT - _RIGHT, SIZE[1] - _BOTTOM
    tallest = max(shares)

    def x(value: float) -> float:
        return round(_LEFT + width * (math.log(value) - low) / (high - low), 2)

    bars = []
    for begin, end, share in zip(edges[:-1], edges[1:], shares, strict=True):
        if share > 0:
            height = max(1.5, (bottom - _TOP) * share / tallest)
            said = f"{histogram.say(begin)} to {histogram.say(end)}: {percent(share)}"
            place = {"x": x(begin) + 0.75, "width": round(x(end) - x(begin) - 1.5, 2)}
            bars.append(
                tag("rect", tag("title", said), y=round(bottom - height, 2), height=round(height, 2), rx=1, **place)
            )
    ticks = []
    for value in _ticks(edges[0], edges[-1]):
        at = x(value)
        ticks.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="mark"))
        side = " first" if at < 24 else " last" if at > SIZE[0] - 24 else ""
        ticks.append(tag("text", histogram.say(value), x=at, y=bottom + 18, class_=f"tick{side}"))
    at, said = x(median(histogram)), histogram.say(median(histogram))
    side = " last" if at > SIZE[0] / 2 else " first"
    middle = tag(
        "g",
        tag("line", x1=at, x2=at, y1=4, y2=bottom),
        tag("text", f"median {said}", x=at + (-6 if "last" in side else 6), y=13, class_=side.strip()),
        class_="median",
    )
    values = histogram.values
    desc = f"From {histogram.say(min(values))} to {histogram.say(max(values))}, median {said}."
    parts = [tag("title", histogram.title, id=f"{name}-title"), tag("desc", desc, id=f"{name}-desc")]
    parts += [tag("g", *ticks), tag("line", x1=0, x2=SIZE[0], y1=bottom, y2=bottom, class_="grid")]
    parts += [tag("g", *bars, class_="bars"), middle]
    box = f"0 0 {SIZE[0]} {SIZE[1]}"
    return tag("svg", *parts, viewBox=box, role="img", aria_labelledby=f"{name}-title {name}-desc")


def percent(share: float) -> str:
    """A share of 1 with as many decimals as it needs to be told from nothing."""
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}" if share >= 0.0005 else "below 0.1%"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the ends, as many as there is room for: 1 2 5 times powers of ten, or finer, or coarser."""
    room = (SIZE[0] - _LEFT - _RIGHT) // _TICK_WIDTH
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        inside = [v for power in powers for f in factors if low <= (v := float(f"{f * 10.0**power:.6g}")) <= high]
        apart = [math.log(b / a) / math.log(high / low) for a, b in pairwise(inside)]
        if len(inside) <= room and all(gap * (SIZE[0] - _LEFT - _RIGHT) >= _TICK_WIDTH for gap in apart):
            return inside
    return inside[:: max(1, len(inside) // max(1, room))]
