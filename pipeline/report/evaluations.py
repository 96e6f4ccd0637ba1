"""What evaluation stages found, as they laid it out themselves: the tables and charts of their results.json.

Cells are shown as they were written. A table or a chart that is not as `pipeline.results` writes it is left out; so is
a point of a chart that is no pair of numbers, and of one with a logarithmic axis a point at 0 or below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_shards.markup import Html, join, tag
from pipeline.report.chart import COLOURS, STEP, Chart, Point, Series, draw
from pipeline.report.read import KnownRun, mapping, number
from pipeline.report.tables import row, table
from pipeline.report.wording import counted
from pipeline.results import FILE

_ROWS = 40
"""Rows of a table that are shown."""
_NUMBER = 30
"""Letters above which a cell of the last column is a text, which stands to the left and is broken into lines."""
_LINES = 2 * COLOURS
"""Lines of a chart that are drawn; those of the second round of colours are dashed."""


def evaluations(runs: Sequence[KnownRun]) -> Html | None:
    """Every run's tables and charts; None where no run has any."""
    groups = []
    for index, run in enumerate(runs):
        tables = [shown for found in _list(run.results.get("tables")) if (shown := _table(mapping(found))) is not None]
        charts = [known for found in _list(run.results.get("charts")) if (known := _chart(mapping(found))) is not None]
        drawn = [_figure(chart, f"found-{index}-{i}") for i, chart in enumerate(charts)]
        if tables or drawn:
            groups.append((run.name, tables, drawn))
    return join(_group(*group, named=len(groups) > 1) for group in groups) if groups else None


def _group(name: str, tables: Sequence[Html], charts: Sequence[Html], *, named: bool) -> Html:
    return tag(
        "div",
        tag("h3", name) if named else None,
        tag("div", *tables, class_="tables") if tables else None,
        tag("div", *charts, class_="charts") if charts else None,
        class_="group",
    )


def _table(found: dict[str, Any]) -> Html | None:
    heads = [str(head) for head in _list(found.get("heads"))]
    lines = [[str(cell) for cell in _list(line)] for line in _list(found.get("rows"))]
    lines = [line for line in lines if line and len(line) == len(heads)]
    if not lines:
        return None
    wide = len(heads) > 1 and any(len(line[-1]) > _NUMBER for line in lines)
    rows = [row(first, rest, wide=wide) for first, *rest in lines[:_ROWS]]
    if len(lines) > _ROWS:
        rest = f"{counted(len(lines) - _ROWS, 'row')} more in {FILE}"
        rows.append(tag("tr", tag("td", rest, colspan=len(heads), class_="soft")))
    note = str(found.get("note") or "")
    return tag(
        "div",
        tag("h4", str(found.get("title") or "")),
        table(heads, rows, wide=wide),
        tag("p", note, class_="soft note") if note else None,
    )


def _chart(found: dict[str, Any]) -> Chart | None:
    logarithmic = found.get("logarithmic") is True
    lines = [_series(entry, logarithmic) for entry in _list(found.get("series"))]
    lines = [(name, points) for name, points in lines if points]
    if not lines:
        return None
    return Chart(
        title=str(found.get("title") or ""),
        series=[Series(name, points, i % COLOURS + 1, i >= COLOURS) for i, (name, points) in enumerate(lines[:_LINES])],
        unit=str(found.get("unit") or ""),
        percent=found.get("percent") is True,
        along=str(found.get("along") or STEP),
        logarithmic=logarithmic,
    )


def _series(entry: object, logarithmic: bool) -> tuple[str, list[Point]]:
    name, pairs = (entry[0], entry[1]) if isinstance(entry, list) and len(entry) == 2 else ("", [])
    points = []
    for pair in _list(pairs):
        x, y = map(number, pair) if isinstance(pair, list) and len(pair) == 2 else (None, None)
        if x is not None and y is not None and (x > 0 or not logarithmic):
            points.append((x, y))
    return str(name), sorted(points)


def _figure(chart: Chart, name: str) -> Html:
    lines = chart.series
    entries = [
        tag("li", tag("i", class_=f"swatch c{line.colour}{' dashed' if line.dashed else ''}"), line.name)
        for line in lines
    ]
    return tag(
        "figure",
        tag("figcaption", tag("strong", chart.title)),
        draw(chart, name),
        tag("ul", *entries, class_="legend") if len(lines) > 1 else None,
        class_="chart",
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
