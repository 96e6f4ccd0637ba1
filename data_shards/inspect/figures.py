"""The figures of the page: where the listed images went, what those in the set are like, and their labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from data_shards.inspect.histogram import Histogram, draw, percent
from data_shards.inspect.look import SplitLook
from data_shards.manifest import Manifest
from data_shards.markup import Html, join, tag

FOLDED = 2000
"""Rows of a folded table."""
_LABELS = 20  # shown before the others are folded


def accounts(manifest: Manifest) -> Html:
    """listed = accepted + quarantined + duplicates, as one bar, and what is behind each part."""
    totals = manifest.totals
    everything = max(1, totals.get("listed", 0))
    parts = [(name, totals.get(name, 0)) for name in ("accepted", "quarantined", "duplicates")]
    bar = tag(
        "div",
        *(tag("i", class_=name, style=f"flex-grow:{count}") for name, count in parts if count),
        class_="whole",
        role="img",
        aria_label=listed([f"{count:,} {name}" for name, count in parts]),
    )
    legend = [
        tag(
            "div",
            tag("dt", tag("i", class_=f"swatch {name}"), name),
            tag("dd", f"{count:,}", _soft(count / everything)),
        )
        for name, count in parts
    ]
    whole = tag("div", tag("dt", "listed"), tag("dd", f"{totals.get('listed', 0):,}"))
    tables = [
        _bars("quarantined because", manifest.reasons),
        _bars("duplicates", manifest.duplicates),
        _bars("among the accepted", manifest.traits, of=totals.get("accepted", 0)),
    ]
    return join([tag("dl", whole, *legend, class_="facts"), bar, tag("div", *tables, class_="columns")])


def images(splits: list[SplitLook]) -> Html | None:
    """Histograms over all splits, each sample weighted by how many it stands for."""
    seen = [(look, found.weight) for found in splits for look in found.looks]
    if not seen:
        return None
    weights = [weight for _, weight in seen]
    charts = []
    measures: list[tuple[str, list[float], Callable[[float], str]]] = [
        ("width", [look.width for look, _ in seen], lambda value: f"{value:,.0f} px"),
        ("height", [look.height for look, _ in seen], lambda value: f"{value:,.0f} px"),
        ("pixels", [look.width * look.height for look, _ in seen], _pixels),
        ("proportions, width to height", [look.width / look.height for look, _ in seen], _proportion),
        ("bytes", [max(1, look.image.size) for look, _ in seen], _bytes),
    ]
    for number, (title, values, say) in enumerate(measures):
        caption = tag("figcaption", title)
        if min(values) == max(values):
            charts.append(tag("figure", caption, tag("p", f"{say(values[0])}, all of them", class_="same")))
        else:
            histogram = Histogram(title=title, values=values, weights=weights, say=say)
            charts.append(tag("figure", caption, draw(histogram, f"h{number}"), class_="chart"))
    formats: Counter[str] = Counter()
    for sample, weight in seen:
        formats[sample.format] += weight  # type: ignore[assignment]
    total = sum(formats.values())
    shares = {name: count / total for name, count in formats.most_common()}
    rows = [_bar_row(name, share, percent(share)) for name, share in shares.items()]
    charts.append(tag("figure", tag("figcaption", "format"), tag("table", *rows, class_="bars")))
    looked = listed([f"{len(found.looks):,} of {found.samples:,} in {found.split}" for found in splits])
    some = any(len(found.looks) < found.samples for found in splits)
    said = tag("p", f"Estimated from {looked}, evenly spread.", class_="soft") if some else None
    return join([said, tag("div", *charts, class_="charts")])


def labels(found: SplitLook, several: bool) -> Html:
    """The labels of a split, most frequent first, the long tail folded."""
    ordered = sorted(found.labels.items(), key=lambda item: (-item[1], item[0]))
    most = max([count for _, count in ordered], default=1)
    rows = [_bar_row(name or "(none)", count / most, f"{count:,}") for name, count in ordered[:FOLDED]]
    parts = [tag("h3", found.split) if several else None]
    if not found.labels_are_exact:
        parts.append(tag("p", f"Estimated from {counted(len(found.looks), 'sample')}.", class_="soft"))
    # A few more than the limit are not worth folding.
    shown = len(rows) if len(rows) <= _LABELS * 3 // 2 else _LABELS
    parts.append(tag("table", *rows[:shown], class_="bars labels"))
    if len(ordered) > shown:
        left = sum(count for _, count in ordered[shown:])
        summary = f"{counted(len(ordered) - shown, 'more label')}, {left:,} images"
        folded = tag("table", *rows[shown:], class_="bars labels")
        missing = len(ordered) - len(rows)
        beyond = tag("p", f"and {missing:,} more", class_="soft") if missing else None
        parts.append(tag("details", tag("summary", summary), folded, beyond))
    return tag("div", *parts, class_="group")


def _bars(title: str, counts: Mapping[str, int], of: int | None = None) -> Html | None:
    """A small table of counts with bars; `of` what they are a share of, else of their sum."""
    shown = [(name, count) for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count]
    if not shown:
        return None
    whole = max(1, of or sum(count for _, count in shown))
    rows = [_bar_row(name.replace("_", " "), count / whole, f"{count:,}") for name, count in shown]
    return tag("div", tag("h3", title), tag("table", *rows, class_="bars"))


def _bar_row(name: str, share: float, text: str) -> Html:
    bar = tag("td", tag("i", style=f"width:{100 * min(1.0, max(0.0, share)):.2f}%"), class_="bar")
    return tag("tr", tag("th", name, scope="row", title=name), bar, tag("td", text, class_="number"))


def _soft(share: float) -> Html | None:
    return tag("span", percent(share), class_="soft") if 0 < share < 1 else None


def _pixels(value: float) -> str:
    return _scaled(value, ("", "k", "M", "G"))


def _bytes(value: float) -> str:
    return _scaled(value, (" B", " kB", " MB", " GB"))


def _scaled(value: float, units: Sequence[str]) -> str:
    """Two digits at least, and no more than are needed."""
    power = min(max(0, math.floor(math.log10(value) + 1e-9) // 3), len(units) - 1)
    scaled = value / 1000**power
    return f"{scaled:.0f}{units[power]}" if scaled >= 9.95 else f"{scaled:.2g}{units[power]}"


def _proportion(value: float) -> str:
    return f"{value:.2g}:1" if value >= 1 else f"1:{1 / value:.2g}"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
