"""The curves of a page: which figures of metrics.jsonl are drawn, and what each one tells.

Runs of one stage share a chart, one line each, so that they can be compared. A figure that is not in the table below is
drawn all the same, under its own name: a new objective's metrics need no line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_shards.markup import Html, join, tag
from pipeline.report.chart import COLOURS, LARGE, SMALL, Chart, Point, Reference, Series, draw
from pipeline.report.read import KnownRun
from pipeline.report.wording import figure, percent


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """How a figure is shown."""

    title: str
    says: str = ""
    unit: str = ""
    from_zero: bool = True
    percent: bool = False
    sums_up: str = "course"
    """What stands for the whole: its course from first to last, its mean, or its highest."""


MEANINGS = {
    "loss": Meaning(title="Loss", says="What training lowers.", from_zero=False),
    "knn": Meaning(
        title="kNN accuracy",
        says="Share of a few test images that their nearest neighbours tell right.",
        percent=True,
        from_zero=False,
    ),
    "accuracy": Meaning(title="Training accuracy", says="Share of each batch told right.", percent=True),
    "code_entropy": Meaning(
        title="Code entropy", says="How undecided the codes are. At ln K they say nothing.", unit="nats"
    ),
    "prototype_usage": Meaning(
        title="Prototype usage", says="How evenly images fall on prototypes: 1 evenly, near 0 on one."
    ),
    "energy_gap": Meaning(
        title="Energy gap", says="Energy of strangers less that of two views of one image. Near 0: collapse."
    ),
    "feature_std": Meaning(title="Feature spread", says="Near 1 over the whole sphere; 0 in one point, a collapse."),
    "correlation": Meaning(title="Correlation", says="Of the two views' embeddings, on the diagonal; 1 is the aim."),
    "grad_norm": Meaning(title="Gradient", says="Its norm over all weights, before clipping."),
    "skipped": Meaning(title="Skipped steps", says="Left out so far, because their gradient was no number."),
    "rate": Meaning(title="Learning rate", says="As the schedule gives it, step by step.", sums_up="highest"),
    "images_per_second": Meaning(
        title="Speed", says="Images that all processes learn from in a second.", unit="images/s", sums_up="mean"
    ),
    "data_wait": Meaning(
        title="Data wait", says="Share of the time in which training waited for images.", percent=True, sums_up="mean"
    ),
    "shuffle": Meaning(
        title="Shuffle", says="Of each epoch, beside a full permutation: 1 is as good, 0 a sequence.", sums_up="mean"
    ),
}
_LAST = ("rate", "images_per_second", "data_wait", "shuffle")
_LARGE = 2
"""Charts that come first and large: the loss, and an accuracy where there is one."""
_NOT_DRAWN = {"step", "epoch", "ln_k", "test_accuracy", "checkpoint_stall", "checkpoint_seconds"}
_UNLESS_ZERO = {"skipped"}
"""Drawn only where there is something to tell."""


def curves(runs: Sequence[KnownRun]) -> Html | None:
    """Every chart of these runs, stage by stage; None where nothing was recorded."""
    groups: dict[str, list[KnownRun]] = {}
    for run in runs:
        if _stepped(run):
            groups.setdefault(run.stage, []).append(run)
    parts: list[Html] = []
    for index, (stage, members) in enumerate(groups.items()):
        metrics = _metrics(members)
        charts = [_figure(metric, members, f"chart-{index}-{i}", i < _LARGE) for i, metric in enumerate(metrics)]
        if charts:
            title = tag("h3", stage or members[0].name) if len(groups) > 1 else None
            small = tag("div", *charts[_LARGE:], class_="charts small") if charts[_LARGE:] else None
            parts.append(tag("div", title, tag("div", *charts[:_LARGE], class_="charts"), small, class_="group"))
    return join(parts) if parts else None


def series(run: KnownRun, metric: str, place: int = 0) -> Series:
    """A figure of a run by rising step; the last word counts where a step was recorded twice."""
    by_step = {record["step"]: record[metric] for record in _stepped(run) if metric in record}
    return Series(run.name, sorted(by_step.items()), place % COLOURS + 1)


def chart(metric: str, runs: Sequence[KnownRun], *, large: bool = True) -> Chart:
    """The chart of a figure, a line for each run that recorded it; a run's colour is the same in every chart."""
    lines = [series(run, metric, place) for place, run in enumerate(runs)]
    meaning = _meaning(metric)
    return Chart(
        title=meaning.title,
        series=[line for line in lines if line.points],
        unit=meaning.unit,
        reference=_reference(metric, runs),
        from_zero=meaning.from_zero,
        percent=meaning.percent,
        size=LARGE if large else SMALL,
    )


def _metrics(runs: Sequence[KnownRun]) -> list[str]:
    """What these runs recorded, in the order of the table; the unknown before how fast it went."""
    every = [(key, value) for run in runs for record in _stepped(run) for key, value in record.items()]
    found = {key for key, value in every if key not in _NOT_DRAWN and (value or key not in _UNLESS_ZERO)}
    known = [key for key in MEANINGS if key in found and key not in _LAST]
    return [*known, *sorted(found - set(MEANINGS)), *(key for key in _LAST if key in found)]


def _stepped(run: KnownRun) -> list[Mapping[str, float]]:
    return [record for record in run.records if record.get("step", -1) >= 0]


def _figure(metric: str, runs: Sequence[KnownRun], name: str, large: bool) -> Html:
    drawing = chart(metric, runs, large=large)
    lines = drawing.series
    meaning = _meaning(metric)
    says, sums_up = meaning.says, meaning.sums_up
    if metric == "loss" and drawing.reference is not None:
        says = "Dashed: ln K, what even odds on all K prototypes give. Below it, the network tells images apart."
    caption = [tag("strong", drawing.title)]
    if len(lines) == 1 and len(runs) == 1:
        caption.append(tag("span", _summary(drawing, lines[0].points, sums_up), class_="course"))
    caption.append(tag("p", says) if says else Html(""))
    return tag(
        "figure",
        tag("figcaption", *caption),
        draw(drawing, name),
        _legend(drawing, sums_up) if len(runs) > 1 and large else None,
        class_="chart",
    )


def _summary(drawing: Chart, points: Sequence[Point], sums_up: str, *, ends: bool = False) -> str:
    """What stands for a line; of its course only the end, on asking."""
    values = [y for _, y in points]
    if sums_up == "mean":
        return f"mean {drawing.say(sum(values) / len(values))}"
    if sums_up == "highest":
        return f"highest {drawing.say(max(values))}"
    first, last = drawing.say(values[0]), drawing.say(values[-1])
    return last if ends or len(values) == 1 else f"{first} → {last}"


def _legend(drawing: Chart, sums_up: str) -> Html:
    entries = []
    for line in drawing.series:
        swatch = tag("i", class_=f"swatch c{line.colour}")
        entries.append(tag("li", swatch, line.name, " ", tag("b", _summary(drawing, line.points, sums_up, ends=True))))
    return tag("ul", *entries, class_="legend")


def _meaning(metric: str) -> Meaning:
    """What the table says of a figure; of one that it does not know, the name."""
    return MEANINGS.get(metric) or Meaning(title=metric.replace("_", " ").capitalize(), from_zero=False)


def _reference(metric: str, runs: Sequence[KnownRun]) -> Reference | None:
    """The level that chance or the untrained network gives, where it is the same for all runs."""
    if metric in ("loss", "code_entropy"):
        levels = {record["ln_k"] for run in runs for record in run.records if "ln_k" in record}
        if len(levels) != 1:
            return None
        level = levels.pop()
        return Reference(level, f"ln K = {figure(level)}" + (", a guess" if metric == "loss" else ""))
    if metric == "knn":
        starts = {line.points[0] for run in runs if (line := series(run, "knn")).points}
        step, level = starts.pop() if len(starts) == 1 else (-1.0, 0.0)
        return Reference(level, f"untrained, {percent(level)}") if step == 0 else None
    return None
