"""What a test gave, as figures, as tables and a chart for people, and as a file with every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.classified.measured import Measured
from pipeline.evaluation.intervals import over_seeds, wilson
from pipeline.results import Chart, Table, interval, plus_minus, share

SHOWN = 10
"""Rows of the tables of classes and of pairs."""


def means(found: Sequence[Measured]) -> dict[str, float]:
    """Mean figures of some checkpoints: shares of 1, and nats."""
    columns = {
        "accuracy": [one.accuracy.top1 for one in found],
        "accuracy_top5": [one.accuracy.top5 for one in found],
        "accuracy_balanced": [one.accuracy.balanced for one in found],
        "calibration_error": [one.calibration.error for one in found],
        "nll": [one.calibration.nll for one in found],
    }
    if all(one.real[1] for one in found):
        columns["accuracy_real"] = [one.real[0] / one.real[1] for one in found]
    return {name: sum(values) / len(values) for name, values in columns.items()}


def figures(found: Sequence[Measured]) -> dict[str, float]:
    """The headline with an interval: Wilson's of one checkpoint, half of Student's over several seeds."""
    headline = means(found)
    if len(found) > 1:
        headline["accuracy_plus_minus"] = over_seeds([one.accuracy.top1 for one in found])[1]
    else:
        headline["accuracy_low"], headline["accuracy_high"] = wilson(found[0].accuracy.right, found[0].accuracy.samples)
    return {name: round(value, 6) for name, value in headline.items()}


def scores(measured: Measured, classes: Sequence[str]) -> dict[str, Any]:
    """All figures of one checkpoint, for a file."""
    accuracy, calibration = measured.accuracy, measured.calibration
    found = {
        **accuracy.to_mapping(classes),
        "accuracy_interval": wilson(accuracy.right, accuracy.samples),
        "accuracy_balanced": accuracy.balanced,
        "calibration_error": calibration.error,
        "overconfidence": calibration.overconfidence,
        "nll": calibration.nll,
        "reliability": calibration.reliability(),
        "left_out": measured.seen - accuracy.samples,
    }
    if measured.real[1]:
        found["accuracy_real"], found["samples_real"] = measured.real[0] / measured.real[1], measured.real[1]
    return {name: _rounded(value) for name, value in found.items()}


def summary(named: Mapping[str, Measured], split: str) -> Table:
    """A row for each checkpoint, by its name; of several one more with their means."""
    found = list(named.values())
    rows = []
    for name, one in named.items():
        rows.append(_row(name, means([one]), interval(*wilson(one.accuracy.right, one.accuracy.samples))))
    notes = ["The interval is Wilson's: what another test of this size might give."]
    if len(found) > 1:
        between = over_seeds([one.accuracy.top1 for one in found])[1]
        rows.append(_row(f"mean of {len(found)}", means(found), plus_minus(between)))
        notes.append("That of the mean is Student's: what other seeds might give.")
    if left_out := found[0].seen - found[0].accuracy.samples:
        notes.append(f"Images without a label that is known, or that cannot be decoded, are left out: {left_out:,}.")
    real = ("ReaL",) if found[0].real[1] else ()
    return Table(
        title=f"Accuracy on {found[0].accuracy.samples:,} images of split {split}",
        heads=("checkpoint", "top-1", "95 % interval", "top-5", "each class alike", "calibration error", "nll", *real),
        rows=rows,
        note=" ".join(notes),
    )


def _row(name: str, mean: Mapping[str, float], sure: str) -> list[str]:
    behind = [share(mean[key]) for key in ("accuracy_top5", "accuracy_balanced", "calibration_error")]
    real = [share(mean["accuracy_real"])] if "accuracy_real" in mean else []
    return [name, share(mean["accuracy"]), sure, *behind, f"{mean['nll']:.3f}", *real]


def worst(measured: Measured, classes: Sequence[str]) -> Table:
    """The classes of which the smallest share is told right."""
    confusion, shares = measured.accuracy.confusion, measured.accuracy.per_class.tolist()
    counts = confusion.sum(1).tolist()
    places = sorted((n for n, count in enumerate(counts) if count), key=lambda n: (shares[n], n))
    rows = []
    for place in places[:SHOWN]:
        sure = interval(*wilson(int(confusion[place, place]), counts[place]))
        rows.append([classes[place], share(shares[place]), sure, f"{counts[place]:,}"])
    return Table(
        title="Classes" if len(places) <= SHOWN else f"Classes: the worst {SHOWN} of {len(places):,}",
        heads=("class", "top-1", "95 % interval", "images"),
        rows=rows,
    )


def confused(measured: Measured, classes: Sequence[str]) -> Table:
    """The pairs of classes most often confused."""
    counts = measured.accuracy.confusion.sum(1).tolist()
    pairs = measured.accuracy.confused(SHOWN)
    return Table(
        title="Most often taken for another",
        heads=("is", "taken for", "images", "share of its class"),
        rows=[[classes[is_], classes[taken], f"{count:,}", share(count / counts[is_])] for is_, taken, count in pairs],
        note="" if pairs else "nothing is",
    )


def reliability(named: Mapping[str, Measured]) -> Chart:
    """Accuracy over confidence, beside the line on which a calibrated network lies."""
    lines = [(name, one.calibration.reliability()) for name, one in named.items()]
    return Chart(
        title="Accuracy by confidence",
        series=[*lines, ("as right as confident", [(0.0, 0.0), (1.0, 1.0)])],
        along="confidence of the network, share of 1",
        percent=True,
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    return [_rounded(part) for part in value] if isinstance(value, tuple | list) else value
