"""report: run directories into one self-contained page.

    read.py                  what is known of a run, finished or not
    page.py                  the page, from top to bottom
    results.py, classes.py   its tables: figures, accuracy by class
    evaluations.py           tables and charts that stages laid out themselves
    curves.py, chart.py      what is drawn and what it means; one chart as SVG
    pictures.py, lineage.py  crops and prototypes; the chain
    markup.py, tables.py, wording.py, style.css   how all of it is written

It needs no network, no script and no torch: a report can be written anywhere, of runs that stopped anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import write_atomically
from pipeline.report.page import page
from pipeline.report.read import read_all
from pipeline.runs import REPORT, disk_error

__all__ = ["write"]


def write(runs: Sequence[Path], out: Path) -> Path:
    """Write `report.html` on these run directories, in the order given, into `out`; gives its path.

    Runs that are unfinished, damaged or missing are shown as such. Raises `RunError` where `out` cannot be written.
    """
    path = Path(out) / REPORT
    text = page(read_all(runs))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise disk_error(path.parent, error) from error
    return path
