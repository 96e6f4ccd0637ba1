"""Where the time of trainings went: a bar for each start, and how much of it was training that counted."""

from __future__ import annotations

from collections.abc import Sequence

from data_shards.markup import Html, join, tag
from pipeline.goodput import PARTS, Account, summed
from pipeline.report.read import KnownRun
from pipeline.report.tables import row, table
from pipeline.report.wording import count, duration, percent

WIDTH, HEIGHT = 480, 12
SHOWN = 40
"""Starts of a run that have a bar of their own, the last ones; those before are in the sum."""
COLOURS = {"compute": 1, "data_wait": 4, "checkpoint": 3, "measuring": 6, "lost": 5, "start_up": 2, "queue": 6}
_ENDS = {
    "done": "done",
    "preempted": "told to stop",
    "stopped": "stopped by hand",
    "failed": "failed",
    "": "killed",
}


def spent(runs: Sequence[KnownRun]) -> Html | None:
    """A table for each run that kept accounts; None where none did."""
    kept = [run for run in runs if any(account.total > 0 for account in run.starts)]
    parts = [join([tag("h3", run.name) if len(runs) > 1 else None, _of(run)]) for run in kept]
    return tag("div", *(tag("div", part, class_="group") for part in parts), _legend(kept)) if parts else None


def _of(run: KnownRun) -> Html:
    """A row for each start, with a bar of its seconds on one scale, and one for all."""
    longest = max(account.total for account in run.starts)
    shown = run.starts[-SHOWN:]
    rows = [row(f"start {account.start}", _cells(account, longest, account is shown[-1])) for account in shown]
    if len(run.starts) > 1:
        seconds = summed(run.starts)
        total = sum(seconds.values())
        rows.append(row("all", ["", "", tag("strong", duration(total)), tag("strong", _share(seconds, total)), ""]))
    return table(["start", "", "steps", "time", "training", "ended"], rows)


def _cells(account: Account, longest: float, last: bool) -> list[object]:
    steps = f"{count(account.begin)} → {count(account.step)}"
    share = _share({"compute": account.compute}, account.total)
    ended = "killed, or at work" if last and not account.end else _ENDS.get(account.end, account.end)
    return [_bar(account, longest), steps, duration(account.total), share, ended]


def _share(seconds: dict[str, float], total: float) -> str:
    return percent(seconds["compute"] / total) if total else ""


def _bar(account: Account, longest: float) -> Html:
    """Its seconds by part, in the order in which they come about."""
    pieces, left = [], 0.0
    for part in ("queue", "start_up", "compute", "data_wait", "checkpoint", "measuring", "lost"):
        seconds = getattr(account, part)
        width = WIDTH * seconds / longest if longest else 0.0
        if width >= 0.05:
            named = tag("title", f"{PARTS[part]}: {duration(seconds)}")
            kind = f"part c{COLOURS[part]} {part}"
            pieces.append(tag("rect", named, x=f"{left:.1f}", width=f"{width:.1f}", height=HEIGHT, class_=kind))
            left += width
    frame = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "preserveAspectRatio": "none", "role": "img", "aria-label": "time"}
    return tag("svg", *pieces, **frame, class_="spent")


def _legend(runs: Sequence[KnownRun]) -> Html:
    """Each part in words, with its colour and its seconds over all runs and starts."""
    seconds = summed([account for run in runs for account in run.starts])
    entries = [
        tag("li", tag("i", class_=f"swatch c{COLOURS[part]} {part}"), f"{words} ", tag("b", duration(seconds[part])))
        for part, words in PARTS.items()
        if seconds[part] >= 0.05
    ]
    return tag("ul", *entries, class_="legend")
