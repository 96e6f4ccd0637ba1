"""The chain as a list, with a line from every run to the runs it was made from.

Each run that others read keeps a lane of its own, from its row down to its last reader, as in a log of branches. A row
has one small SVG as high as itself, so the lines meet whatever the text beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_shards.markup import Html, join, tag
from pipeline.report.read import KnownRun, Source
from pipeline.report.wording import duration

ROW, LANE, FIRST = 46, 20, 14
"""Height of a row, distance of lanes, and the first lane from the left, in px."""


def lineage(runs: Sequence[KnownRun]) -> Html:
    """A table of the runs in their order: name, what it was made from, time, fingerprint and content."""
    found = [[_index(source, runs[:i]) for source in run.sources] for i, run in enumerate(runs)]
    parents = [[j for j in above if j is not None] for above in found]
    lanes, last = allot(parents), last_readers(parents)
    width = FIRST * 2 + LANE * max(lanes, default=0)
    rows = []
    for i, run in enumerate(runs):
        passing = [lanes[j] for j in range(i) if last[j] > i]
        drawing = _rail(width, lanes[i], [lanes[j] for j in parents[i]], passing, goes_on=last[i] > i, state=run.state)
        rows.append(
            tag(
                "tr",
                tag("td", drawing, class_="rail"),
                tag("th", tag("a", run.name, href=f"#run-{i}"), _state(run), scope="row"),
                tag("td", run.stage or "?", f" · {run.kind}" if run.kind else None),
                tag("td", _made_from(run, runs), class_="from"),
                tag("td", duration(run.seconds) if run.kind else "", class_="number"),
                tag("td", short(run.fingerprint)),
                tag("td", short(run.content)),
            )
        )
    names = ("", "run", "stage · kind", "made from", "time", "fingerprint", "content")
    heads = [tag("th", name, scope="col", class_="number" if name == "time" else None) for name in names]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="lineage")
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="The chain")


def last_readers(parents: Sequence[Sequence[int]]) -> list[int]:
    """For each run the last one made from it, or itself."""
    return [max((i for i, above in enumerate(parents) if j in above), default=j) for j in range(len(parents))]


def allot(parents: Sequence[Sequence[int]]) -> list[int]:
    """A lane for each run, given the earlier runs it was made from.

    A lane is taken from its run to that run's last reader. A run continues a lane that ends with it, or takes the first
    one free.
    """
    last = last_readers(parents)
    lanes: list[int] = []
    for i, above in enumerate(parents):
        ending = [lanes[j] for j in above if last[j] == i]
        taken = {lanes[j] for j in range(i) if last[j] > i}
        free = next(lane for lane in range(len(parents) + 1) if lane not in taken)
        lanes.append(min(ending, default=free))
    return lanes


def short(code: str) -> Html | None:
    """A hash by its first letters; the whole of it on asking."""
    return tag("code", code[:10], title=code) if code else None


def _rail(width: int, lane: int, above: Sequence[int], passing: Sequence[int], *, goes_on: bool, state: str) -> Html:
    """One row of the drawing: lanes that pass, lines from the inputs' lanes to the run, and the run."""
    x, middle = FIRST + LANE * lane, ROW // 2
    parts = []
    for other in sorted(set(passing)):
        at = FIRST + LANE * other
        parts.append(tag("path", d=f"M{at} 0V{ROW}"))
    for other in sorted(set(above)):
        at, bend = FIRST + LANE * other, 5 if other < lane else -5
        turn = "" if other == lane else f"v1q0 5 {bend} 5H{x - bend}q{bend} 0 {bend} 5"
        parts.append(tag("path", d=f"M{at} 0{turn}V{middle - 6}"))
    if goes_on:
        parts.append(tag("path", d=f"M{x} {middle}V{ROW}"))
    if above:
        tip = middle - 6
        parts.append(tag("path", d=f"M{x - 3.5} {tip - 5}L{x} {tip}L{x + 3.5} {tip - 5}"))
    parts.append(tag("circle", cx=x, cy=middle, r=4.5, class_=state))
    return tag("svg", *parts, width=width, height=ROW, viewBox=f"0 0 {width} {ROW}", aria_hidden="true")


def _made_from(run: KnownRun, runs: Sequence[KnownRun]) -> Html:
    parts: list[object] = []
    for source in run.sources:
        index = _index(source, runs)
        if index is None:
            parts.append(tag("span", str(source.path), title=f"content {source.content}"))
            continue
        link = tag("a", runs[index].name, href=f"#run-{index}", title=f"content {source.content}")
        changed = runs[index].content and runs[index].content != source.content
        parts.append(join([link, tag("small", " made again since")]) if changed else link)
    return join([tag("span", "← ", class_="soft"), join(parts, ", ")]) if parts else Html("")


def _state(run: KnownRun) -> Html | None:
    return None if run.state == "finished" else tag("span", run.state, class_="state")


def _index(source: Source, runs: Sequence[KnownRun]) -> int | None:
    """The run that an input names: by its directory, or by its content where it was moved."""
    for i, run in enumerate(runs):
        if run.path == source.path or run.path.absolute() == source.path.absolute():
            return i
    same = [i for i, run in enumerate(runs) if run.content and run.content == source.content]
    return same[0] if same else None
