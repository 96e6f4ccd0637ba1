"""lowshot: what frozen features are worth where only a few samples of each class are labelled.

Logistic regression on so many samples a class, drawn several times: the mean over the draws with its 95 % interval.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from data_shards.progress import Progress
from pipeline import results
from pipeline.artifacts import Artifact, digest, write_atomically
from pipeline.evaluation.compute import Processes
from pipeline.evaluation.feature_sets.feature_set import FeatureSet
from pipeline.evaluation.heads.lowshot import Fit, fit
from pipeline.evaluation.intervals import over_seeds
from pipeline.evaluation.labels import classes, splits
from pipeline.models.taps import AVERAGE
from pipeline.results import SCORES, Chart, Table, plus_minus, share
from pipeline.runs import Run
from pipeline.stages.labelled import say
from pipeline.stages.stage import Input, Result


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `lowshot`."""

    out: str = field(default="runs/lowshot", metadata={"identity": False})
    """Run directory."""
    features: str = field(default="runs/features", metadata={"identity": False})
    """Run directory of `features`; its samples need labels."""
    tap: str = AVERAGE
    """Tap whose features are taken."""
    train: str = "train"
    """Split of which a few samples are drawn."""
    test: str = "test"
    """Split that is asked about."""
    shots: tuple[int, ...] = (1, 2, 5, 10, 20)
    """Labelled samples of each class: one result for each number."""
    draws: int = 5
    """How often other samples are drawn, at each number."""
    strengths: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5)
    """Weights of the penalty, tried by cross-validation within a draw; with one sample a class the first is taken."""
    iterations: int = 200
    """Most iterations of L-BFGS per fit."""
    seed: int = 0
    """Seed of the first draw; the others count on from it."""
    compute: Processes = field(default_factory=Processes, metadata={"identity": False})
    """On what it is fitted, by one process."""

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or len(set(self.shots)) < len(self.shots):
            raise ValueError("shots needs at least one number, none below 1 and none twice")
        if self.draws < 1 or self.iterations < 1:
            raise ValueError("draws and iterations must be at least 1")
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError("strengths needs at least one number, all above 0")
        if self.compute.processes > 1:
            raise ValueError("one process fits; leave compute.devices and compute.nodes at 1")

    @property
    def seeds(self) -> range:
        """One for each draw."""
        return range(self.seed, self.seed + self.draws)


def inputs(config: Config) -> Mapping[str, Input]:
    """Features."""
    return {"features": Input(config.features, "features", ("features",))}


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Fit every draw, then pass once over the test split; nothing is kept of a killed run."""
    features = FeatureSet(inputs["features"])
    features.check_labels("lowshot")
    features.check(config.train, config.tap)
    features.check(config.test, config.tap)
    labels = features.labels(config.train)
    answers = features.labels(config.test)
    doubts = classes.check(
        features.classes, labels.numpy(), answers.numpy(), config.features, train=config.train, test=config.test
    )
    say(run, "lowshot", doubts)
    device = config.compute.device()
    bank, rows = _drawn(config, features, labels)
    fits = []
    with Progress(len(config.shots) * config.draws, unit="fits", label="lowshot") as progress:
        for count in config.shots:
            for seed in config.seeds:
                chosen = _shots(labels, count, seed)
                vectors = bank[torch.searchsorted(rows, chosen)].to(device)
                known = labels[chosen].to(device)
                fits.append(fit(vectors, known, len(features.classes), config.strengths, config.iterations))
                progress.update(1)
    right, samples = [0] * len(fits), 0
    for chunk in features.chunks(config.test, config.tap):
        samples += int((chunk.labels >= 0).sum())
        right = [n + one.right(chunk.features, chunk.labels) for n, one in zip(right, fits, strict=True)]
    return _result(config, run, features, fits, [n / max(1, samples) for n in right], samples)


def _shots(labels: Tensor, count: int, seed: int) -> Tensor:
    """Rows, in order, of a draw of `count` labels of each class; more of one seed hold the fewer ones."""
    return torch.from_numpy(splits.few(labels.numpy(), count, seed))


def _drawn(config: Config, features: FeatureSet, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Features of all samples that some draw takes, and their rows; in memory are these and one file."""
    rows = torch.unique(torch.cat([_shots(labels, max(config.shots), seed) for seed in config.seeds]))
    found, first = [], 0
    for chunk in features.chunks(config.train, config.tap):
        here = rows[(rows >= first) & (rows < first + len(chunk.labels))]
        found.append(chunk.features[here - first])
        first += len(chunk.labels)
    return torch.cat(found), rows


def _result(
    config: Config, run: Run, features: FeatureSet, fits: Sequence[Fit], accuracies: Sequence[float], samples: int
) -> Result:
    """Write and print what was found."""
    figures, rows, line, scores = {}, [], [], {}
    for place, count in enumerate(config.shots):
        part = slice(place * config.draws, (place + 1) * config.draws)
        mean, half = over_seeds(accuracies[part]) if config.draws > 1 else (accuracies[part][0], None)
        figures[f"accuracy_{count}_shots"] = round(mean, 4)
        strengths = sorted({one.strength for one in fits[part]})
        rows.append(
            [
                str(count),
                share(mean),
                "" if half is None else plus_minus(half),
                ", ".join(f"{strength:g}" for strength in strengths),
            ]
        )
        line.append((float(count), round(mean, 4)))
        scores[str(count)] = {
            "accuracy": round(mean, 4),
            "interval": None if half is None else round(half, 4),
            "draws": [round(accuracy, 4) for accuracy in accuracies[part]],
        }
    table = Table(
        title="Low-shot accuracy",
        heads=("samples a class", "top-1", "95 % interval", "penalty"),
        rows=rows,
        note=f"{config.tap}; {_draws(config.draws)}, on {samples:,} of {config.test}.",
    )
    chart = Chart(
        title="Low-shot accuracy",
        series=[(config.tap, sorted(line))],
        along="labelled samples a class",
        percent=True,
        logarithmic=True,
    )
    results.save(run.path, [table], [chart])
    print(table, flush=True)
    write_atomically(run.path / SCORES, json.dumps({"shots": scores}, indent=1))
    return Result(
        kind="scores",
        content=digest(scores),
        files=(SCORES, results.FILE),
        figures=figures,
        facts={"classes": list(features.classes)},
    )


def _draws(count: int) -> str:
    return "one draw" if count == 1 else f"mean of {count} draws with its interval (Student's)"
