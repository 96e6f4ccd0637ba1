"""The linear probe: what it reaches beside scikit-learn's on the same features, and what twenty rates cost beside one.

    python -m tests.benchmarks.linear --features DIR [--json FILE] [--epochs 50] [--steps 300] [--rounds 9]

DIR is a run of `features` with the splits train and test: of CIFAR-10, 50,000 and 10,000. Scikit-learn's logistic
regression has standardised features and 300 iterations; its penalty is chosen on the very samples that our head is
chosen on, and both are then fitted on the whole training split. Costs are of steps at a batch of 256; one rate and
twenty take turns, and a ratio is taken within a turn. Streamed, a step also runs the network of the features on 256
crops, without reading pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import config
from pipeline.artifacts import Artifact
from pipeline.evaluation.classified.accuracy import Accuracy
from pipeline.evaluation.feature_sets.feature_set import FeatureSet
from pipeline.evaluation.heads import linear
from pipeline.evaluation.heads.choice import best, dealt
from pipeline.evaluation.heads.grid import Grid
from pipeline.evaluation.heads.probing import Probing
from pipeline.models import RegNet
from pipeline.models.taps import taps
from pipeline.objectives import Progress
from pipeline.training.schedules import WarmupCosine
from pipeline.views import Views
from tests.benchmarks.rounds import commit, machine

BATCH = 256
STRENGTHS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
MANY = Grid.Config().rates


def by_us(features: FeatureSet, tap: str, epochs: int) -> dict[str, Any]:
    """The accuracy of our head, as the stage `linear` finds it."""
    bank, query = features.read("train", tap), features.read("test", tap)
    everyone, kept, asked = dealt(bank.labels, 0.1, 0, "")
    began = time.perf_counter()

    def trained(grid: Grid, rows: Tensor) -> Grid:
        steps = round(epochs * len(rows) / BATCH)

        def factor(step: int) -> float:
            return WarmupCosine(warmup=0, end=0.0).factor(step, steps, len(rows) / BATCH)

        linear.train(
            grid, {tap: bank.features}, bank.labels, batch=BATCH, steps=steps, factor=factor, seed=0, rows=rows
        )
        return grid

    classes, widths = len(features.classes), {tap: features.taps[tap]}
    grid = trained(Grid.Config(weight_decay=1e-6).build(widths, classes, BATCH), kept)
    head = grid.heads[best(linear.ask(grid, {tap: bank.features}, bank.labels, asked)[0])]
    alone = Grid.Config(rates=(head.rate,), batch_norm="with" if head.batch_norm else "without", weight_decay=1e-6)
    chosen = trained(alone.build(widths, classes, BATCH), everyone)
    accuracy = linear.ask(chosen, {tap: query.features}, query.labels, head=0)[1]
    assert accuracy is not None
    return {"accuracy": accuracy.top1, "head": str(head), "seconds": round(time.perf_counter() - began, 1)}


def by_scikit_learn(features: FeatureSet, tap: str) -> dict[str, Any]:
    """The accuracy of scikit-learn's, with the best of `STRENGTHS`."""
    from sklearn.linear_model import LogisticRegression

    bank, query = features.read("train", tap), features.read("test", tap)
    everyone, kept, asked = dealt(bank.labels, 0.1, 0, "")
    mean, std = bank.features[kept].mean(0), bank.features[kept].std(0).clamp_min(1e-6)
    began, scores = time.perf_counter(), []

    def fitted(rows: Tensor, strength: float) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of iterations: the optimum is flat where the penalty is small
            model = LogisticRegression(C=1 / (len(rows) * strength), max_iter=300)
            return model.fit(((bank.features[rows] - mean) / std).numpy(), bank.labels[rows].numpy())

    for strength in STRENGTHS:
        model = fitted(kept, strength)
        scores.append(model.score(((bank.features[asked] - mean) / std).numpy(), bank.labels[asked].numpy()))
    strength = STRENGTHS[scores.index(max(scores))]
    model = fitted(everyone, strength)
    found = torch.from_numpy(model.decision_function(((query.features - mean) / std).numpy()))
    accuracy = Accuracy.of(found, query.labels)
    return {"accuracy": accuracy.top1, "strength": strength, "seconds": round(time.perf_counter() - began, 1)}


def cached(features: FeatureSet, tap: str, rates: tuple[float, ...], norm: str) -> Callable[[int], None]:
    """Trains on features in memory for so many steps."""
    bank = features.read("train", tap, 0, 20_000)
    grid = Grid.Config(rates=rates, batch_norm=norm).build(  # type: ignore[arg-type]
        {tap: features.taps[tap]}, len(features.classes), BATCH
    )
    return lambda steps: linear.train(
        grid, {tap: bank.features}, bank.labels, batch=BATCH, steps=steps, factor=lambda step: 1.0, seed=0
    )


def streamed(
    model: RegNet.Config, size: int, classes: int, rates: tuple[float, ...], norm: str
) -> Callable[[int], None]:
    """Trains on crops of noise for so many steps."""
    pixels = torch.randint(0, 256, (1, BATCH, size, size, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    views = Views((pixels,), torch.arange(BATCH), torch.arange(BATCH) % classes)
    wanted = taps(["average"])
    widths = {"average": wanted[0].width(model.stages().widths)}
    grid = Grid.Config(rates=rates, batch_norm=norm).build(widths, classes, BATCH)  # type: ignore[arg-type]
    objective = Probing(model.build(), wanted, grid).train()
    optimizer = torch.optim.SGD(grid.parameters(), 1.0, momentum=0.9, fused=True)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                outcome = objective(views, Progress(recorded=False))
            outcome.loss.backward()
            optimizer.step()

    return run


def costs(sides: Mapping[str, Callable[[int], None]], steps: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a step of one rate and of many, and the ratio within a turn: medians."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items() if turn % 2 else list(sides.items())[::-1]:
            began = time.perf_counter()
            side(steps)
            taken[name].append(1e3 * (time.perf_counter() - began) / steps)
    one, many = (values[1:] for values in taken.values())
    ratios = [b / a for a, b in zip(one, many, strict=True)]
    return {
        "one_ms": round(statistics.median(one), 3),
        "many_ms": round(statistics.median(many), 3),
        "ratio": round(statistics.median(ratios), 2),
        "lowest_ratio": round(min(ratios), 2),
        "highest_ratio": round(max(ratios), 2),
        "ratio_of_lowest": round(min(many) / min(one), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.linear", description=__doc__)
    parser.add_argument("--features", type=Path, required=True, help="run of `features`, with splits train and test")
    parser.add_argument("--tap", default="average")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--steps", type=int, default=300, help="steps of a turn over cached features")
    parser.add_argument("--rounds", type=int, default=9, help="turns that are measured")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--only", choices=("accuracy", "cost"), help="half of it")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    artifact = Artifact.load(given.features, "features")
    features, found = FeatureSet(artifact), {}
    if given.only != "cost":
        found["ours"] = by_us(features, given.tap, given.epochs)
        print(f"ours: {found['ours']}", flush=True)
        found["scikit-learn"] = by_scikit_learn(features, given.tap)
        print(f"scikit-learn: {found['scikit-learn']}", flush=True)
    if given.only != "accuracy":
        model = config.build(RegNet.Config, artifact.facts["model"])
        size, classes = int(artifact.facts["view"]["size"]), len(features.classes)
        for norm in ("without", "both"):
            sides = {str(n): cached(features, given.tap, MANY[:n], norm) for n in (1, len(MANY))}
            found[f"cached, {norm} BatchNorm"] = costs(sides, given.steps, given.rounds)
            sides = {str(n): streamed(model, size, classes, MANY[:n], norm) for n in (1, len(MANY))}
            found[f"streamed, {norm} BatchNorm"] = costs(sides, max(1, given.steps // 100), given.rounds)
        for name, cost in found.items():
            if "ratio" in cost:
                print(f"{name}: {cost}", flush=True)
    if given.json:
        content = {"machine": machine(), "commit": commit(), "settings": {"batch": BATCH, "epochs": given.epochs}}
        given.json.write_text(json.dumps({**content, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
