"""Accuracy by class, one column a run, and the pairs of classes that the best run confuses most.

Both come from a run's scores.json, where it has them:

    per_class   {name: share told right}
    confused    [{"is": name, "taken_for": name, "samples": count}], most first
"""

from __future__ import annotations

from collections.abc import Sequence

from data_shards.markup import Html, join, tag
from pipeline.report.read import KnownRun, mapping, number
from pipeline.report.tables import row, table
from pipeline.report.wording import count, counted, percent

_MANY = 24
"""Classes beyond which only the most and the least accurate are shown."""
_PAIRS = 12
"""Pairs shown."""


def by_class(runs: Sequence[KnownRun]) -> Html | None:
    """Accuracy of every class for every run that measured it, and the pairs that the best of them confuses most."""
    groups: dict[tuple[str, ...], list[KnownRun]] = {}
    for run in runs:
        if accuracies := _classes(run):
            groups.setdefault(tuple(accuracies), []).append(run)
    tables = []
    for names, members in groups.items():
        best = max(members, key=lambda run: run.figures.get("accuracy", number(run.scores.get("accuracy")) or 0.0))
        tables += [_accuracies(names, members, best), _confused(best)]
    return tag("div", *tables, class_="tables") if tables else None


def _accuracies(names: Sequence[str], runs: Sequence[KnownRun], best: KnownRun) -> Html:
    accuracies = [_classes(run) for run in runs]
    order = sorted(names, key=_classes(best).__getitem__, reverse=True)
    rows = []
    half = _MANY // 2
    for place, name in enumerate(order):
        if len(order) > _MANY and half <= place < len(order) - half:
            if place == half:
                left_out = f"{counted(len(order) - 2 * half, 'class', 'classes')} between, in scores.json"
                rows.append(tag("tr", tag("td", left_out, colspan=len(runs) + 1, class_="soft")))
            continue
        rows.append(row(name, [_bar(accuracy[name]) for accuracy in accuracies]))
    return table(["class", *(run.name for run in runs)], rows)


def _bar(share: float) -> Html:
    return tag("span", percent(share), class_="bar", style=f"--share:{100 * min(1.0, max(0.0, share)):.1f}%")


def _confused(run: KnownRun) -> Html | None:
    """Pairs of classes by how many samples of the first were taken for the second."""
    pairs = run.scores.get("confused")
    rows = []
    for pair in pairs[:_PAIRS] if isinstance(pairs, list) else []:
        known = mapping(pair)
        if samples := number(known.get("samples")):
            words = [known.get("is"), tag("span", " taken for ", class_="soft"), known.get("taken_for")]
            rows.append(row(join(words), [count(samples)]))
    return table([f"most confused by {run.name}", "images"], rows, kind="narrow") if rows else None


def _classes(run: KnownRun) -> dict[str, float]:
    """Accuracy by class name."""
    entries = mapping(run.scores.get("per_class")).items()
    return {name: share for name, entry in entries if (share := number(entry)) is not None}
