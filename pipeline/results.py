"""What a stage found out, as tables and charts of plain numbers: `results.json` in its run directory.

A stage says what its figures mean once, here; a terminal prints the tables and the report draws both.

    save(run.path, [Table(...)], [Chart(...)])      # and `results.FILE` among the files of the stage's Result
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.artifacts import write_atomically

FILE = "results.json"
SCORES = "scores.json"
"""What else a stage found out, for programs: of every class, draw or head."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under heads; the first column names a row, the others hold numbers or short texts."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    """Cells as they are to be read, with their unit: `51.9 %`."""
    note: str = ""
    """What to know of it, in a sentence."""

    def __str__(self) -> str:
        lines = [tuple(map(str, line)) for line in (self.heads, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [self.title]
        for name, *cells in lines:
            right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            text.append("  ".join(["  " + name.ljust(widths[0]), *right]).rstrip())
        return "\n".join([*text, f"  {self.note}"] if self.note else text)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over a common axis; each series is a name and (x, y) pairs by rising x."""

    title: str
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    along: str
    """What x is, with its unit."""
    unit: str = ""
    """Of y."""
    percent: bool = False
    """Whether y are shares of 1, shown as percent."""
    logarithmic: bool = False
    """Whether x is spread by its logarithm."""


def share(value: float) -> str:
    """A share of 1 as tables show it: `12.34 %`."""
    return f"{100 * value:.2f} %"


def interval(low: float, high: float) -> str:
    """The ends of an interval of shares: `24.05 to 31.88 %`."""
    return f"{100 * low:.2f} to {share(high)}"


def plus_minus(half: float) -> str:
    """Half the width of an interval of shares about a mean: `± 1.20 %`."""
    return f"± {share(half)}"


def save(folder: Path, tables: Iterable[Table], charts: Iterable[Chart] = ()) -> None:
    """Write `results.json`, whole or not at all."""
    found = {"tables": [asdict(table) for table in tables], "charts": [asdict(chart) for chart in charts]}
    write_atomically(folder / FILE, json.dumps(found, indent=1))
