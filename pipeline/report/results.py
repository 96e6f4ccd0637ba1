"""The figures of a page as tables: what was learnt beside what the untrained network gives, then one line a result."""

from __future__ import annotations

from collections.abc import Sequence

from data_shards.markup import Html, tag
from pipeline.report.read import KnownRun, mapping, number
from pipeline.report.tables import row, table
from pipeline.report.wording import count, counted, figure, listed, percent

_MEASURING = ("knn", "linear", "lowshot", "retrieval", "evaluate")
"""Stages whose figures, where none is the accuracy, are results by their own names, and shares of 1."""
_MORE = 3
"""Further figures of such a stage that are named; all of them are among the evaluations."""


def results(runs: Sequence[KnownRun]) -> Html | None:
    """The headline tables; None where no run has a figure."""
    tables = [found for found in (_probes(runs), _lines(runs)) if found is not None]
    return tag("div", *tables, class_="tables") if tables else None


def removed(random: float, pretrained: float) -> float | None:
    """Share of the untrained network's error that pretraining took away."""
    return (pretrained - random) / (1 - random) if random < 1 else None


def _probes(runs: Sequence[KnownRun]) -> Html | None:
    probes = [run for run in runs if "knn_pretrained" in run.figures or "linear_pretrained" in run.figures]
    rows = []
    for run in probes:
        for key, label in (("knn", "kNN accuracy"), ("linear", "linear accuracy"), ("rank", "effective rank")):
            random, pretrained = run.figures.get(f"{key}_random"), run.figures.get(f"{key}_pretrained")
            if pretrained is None:
                continue
            say = figure if key == "rank" else percent
            share = removed(random, pretrained) if random is not None and key != "rank" else None
            name = label if len(probes) == 1 else f"{run.name}: {label}"
            gain = _gain(random, pretrained) if random is not None and key != "rank" else ""
            cells = [gain, say(random) if random is not None else "", tag("strong", say(pretrained)), percent(share)]
            rows.append(row(name, cells))
    heads = ["frozen features", "", "untrained", "pretrained", "error removed"]
    return table(heads, rows, kind="gains") if rows else None


def _gain(random: float, pretrained: float) -> Html:
    """From untrained (hollow) to pretrained (full) on a scale from 0 to 1."""
    start, end = (6 + 228 * min(1.0, max(0.0, share)) for share in (random, pretrained))
    parts = [
        tag("path", d="M6 9H234", class_="scale"),
        tag("path", d=f"M{start:.1f} 9H{end:.1f}", class_="way"),
        tag("circle", cx=f"{start:.1f}", cy=9, r=4, class_="from"),
        tag("circle", cx=f"{end:.1f}", cy=9, r=5, class_="to"),
    ]
    return tag("svg", *parts, width=240, height=18, viewBox="0 0 240 18", aria_hidden="true", class_="gain")


def _lines(runs: Sequence[KnownRun]) -> Html | None:
    rows = [
        row(name, [tag("strong", value), tag("span", remark)], wide=True)
        for run in runs
        for name, value, remark in _of(run)
    ]
    return table(["run", "result", ""], rows, wide=True) if rows else None


def _of(run: KnownRun) -> list[tuple[str, str, str]]:
    """A run's results: name, value, what to know of it."""
    figures, lines = run.figures, []
    splits = {name: n for name, value in mapping(run.facts.get("splits")).items() if (n := number(value)) is not None}
    if splits:
        said = [f"{count(n)} {name}" for name, n in splits.items()]
        said += [f"{count(figures[key])} {key}" for key in ("quarantined", "duplicates") if figures.get(key)]
        lines.append((f"{run.name}: images", count(sum(splits.values())), ", ".join(said)))
    if "loss_first" in figures and "loss_last" in figures:
        guess = f"ln K = {figure(figures['ln_k'])} is what even odds give" if "ln_k" in figures else ""
        lines.append((f"{run.name}: loss", f"{figure(figures['loss_first'])} → {figure(figures['loss_last'])}", guess))
    if "accuracy" in figures:
        lines.append((f"{run.name}: accuracy", percent(figures["accuracy"]), _conditions(run)))
    if "largest_difference" in figures:
        size = f"; {count(figures['parameters'])} parameters" if "parameters" in figures else ""
        lines.append(
            (
                f"{run.name}: largest difference",
                figure(figures["largest_difference"]),
                f"of any output, file against checkpoint{size}",
            )
        )
    if run.stage in _MEASURING and figures and "accuracy" not in figures:
        (name, value), *others = ((name.replace("_", " "), percent(share)) for name, share in figures.items())
        lines.append((f"{run.name}: {name}", value, ", ".join(" ".join(other) for other in others[:_MORE])))
    if run.bad:
        why = listed([f"{count(n)} {reason}" for reason, n in sorted(run.bad.items(), key=lambda item: -item[1])])
        often = counted(sum(run.bad.values()), "time")
        lines.append((f"{run.name}: bad samples", count(run.bad_samples), f"replaced by another {often}: {why}"))
    return lines


def _conditions(run: KnownRun) -> str:
    """How a fine-tuned accuracy came about."""
    start = {"pretrained": "from pretrained weights", "scratch": "from scratch"}.get(str(run.setting("start")), "")
    labels = number(run.facts.get("labels"))
    top5 = number(run.scores.get("accuracy_top5"))
    classes = run.facts.get("classes")
    said = [start, f"on {counted(labels, 'label')}" if labels is not None else ""]
    first = " ".join(part for part in said if part)
    more = f"top-5 {percent(top5)}" if top5 is not None and isinstance(classes, list) and len(classes) > 5 else ""
    return "; ".join(part for part in (first, more) if part)
