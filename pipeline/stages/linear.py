"""linear: linear classifiers of frozen features, a grid of learning rates and taps trained in one pass.

Over cached features of the `features` stage, or over random crops streamed through the frozen network, as published
ImageNet numbers are made; the second is a training like any other, on any number of processes. The head is chosen on a
part of the training split that is held out, never on the test split.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.progress import Progress
from pipeline import distributed, results
from pipeline.artifacts import Artifact, digest, write_atomically
from pipeline.config import to_mapping
from pipeline.errors import RunError
from pipeline.evaluation.classified.accuracy import Accuracy
from pipeline.evaluation.feature_sets.feature_set import FeatureSet
from pipeline.evaluation.heads import linear
from pipeline.evaluation.heads.choice import Choice, best, dealt
from pipeline.evaluation.heads.grid import Grid
from pipeline.evaluation.heads.probing import Probing, ask
from pipeline.evaluation.labels import classes
from pipeline.models.taps import AVERAGE, Tap, taps
from pipeline.released import backbones
from pipeline.results import SCORES
from pipeline.runs import Run
from pipeline.stages.labelled import crops_of, labelled, say
from pipeline.stages.stage import Input, Result
from pipeline.training import trained
from pipeline.training.fit import Fitted, fit
from pipeline.training.optimizers import SGD
from pipeline.training.schedules import Duration, Schedule, WarmupCosine
from pipeline.training.settings import TrainerConfig
from pipeline.training.weights import Weights
from pipeline.views import Evaluation, Labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `linear`."""

    out: str = field(default="runs/linear", metadata={"identity": False})
    """Run directory."""
    over: Literal["features", "crops"] = "features"
    """What is learnt from: features of the `features` stage, one view of a picture; or crops, random ones that are
    streamed through the frozen network."""
    features: str = field(default="runs/features", metadata={"identity": False})
    """For features: run directory of `features`."""
    shards: str = field(default="runs/shard", metadata={"identity": False})
    """For crops: run directory of `shard`; its samples need labels."""
    checkpoint: str = field(default="runs/pretrain", metadata={"identity": False})
    """For crops: run directory of `pretrain`, `fetch` or `finetune`."""
    taps: tuple[str, ...] = ()
    """Taps that are probed, as `features` names them; where none is named, all that were extracted, or average."""
    train: str = "train"
    """Split to learn from."""
    test: str = "test"
    """Split whose accuracy is reported."""
    held_out: float = 0.1
    """Share of each class of the training split by which the head is chosen. Over features the chosen head is then
    trained again on the whole split; over crops it is not."""
    seed: int = 0
    """Seed of what is held out, data order and crops."""
    grid: Grid.Config = field(default_factory=Grid.Config)
    """The heads."""
    schedule: Schedule = field(default_factory=lambda: WarmupCosine(warmup="0 steps", end=0.0))
    """How the learning rates change."""
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(duration="50 epochs"))
    """How training runs; over features, in fp32 and by one process."""
    views: Labelled.Config = field(default_factory=Labelled.Config)
    """Crops for training."""
    view: Evaluation.Config | None = None
    """For crops: how a picture is shown when accuracy is measured; null for what the checkpoint asks for."""
    max_bad: float = field(default=0.01, metadata={"identity": False})
    """Share of undecodable samples above which the run stops."""

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is a share above 0 and below 1, but {self.held_out:g} was given")
        if self.taps:
            taps(self.taps)
        if self.over == "features" and self.trainer.processes > 1:
            raise ValueError("over features one process trains; leave trainer.devices at 1, or take over=crops")


def inputs(config: Config) -> Mapping[str, Input]:
    """Features; or labelled shards and a checkpoint."""
    if config.over == "features":
        return {"features": Input(config.features, "features", ("features",))}
    return {
        "shards": Input(config.shards, "shards"),
        "checkpoint": Input(config.checkpoint, "checkpoint", ("pretrain", "fetch", "finetune")),
    }


def check(config: Config) -> None:
    """What this machine cannot do, before anything is begun."""
    config.trainer.check_machine()


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Train the grid, choose, measure. Over crops a killed run goes on from its newest good checkpoint."""
    if config.over == "features":
        return _result(run, *_over_features(config, FeatureSet(inputs["features"]), run), ())
    fitted, found = _over_crops(config, inputs["checkpoint"], run)
    return _result(run, *found, fitted.files(run.path))


Found = tuple[Choice, Accuracy, tuple[str, ...], str]
"""The choice, the test of the chosen head, the classes, and what to know of it."""


def _over_features(config: Config, features: FeatureSet, run: Run) -> Found:
    features.check_labels("linear")
    device = torch.device("cuda" if config.trainer.on_gpu else "cpu")
    names = config.taps or tuple(features.taps)
    widths = {name: features.taps.get(name, 0) for name in names}
    for split in (config.train, config.test):
        features.check(split, *names)
    rows = features.rows(config.train) + features.rows(config.test)
    linear.check_memory(4 * rows * sum(widths.values()), config.features)
    labels = features.labels(config.train)
    everyone, kept, asked = dealt(labels, config.held_out, config.seed, config.features)
    _check_classes(config, features.classes, labels[kept], features.labels(config.test), config.features, run)
    run.rewind(lambda _: False)
    vectors = _read(features, config.train, names)
    count = len(features.classes)
    grid = config.grid.build(widths, count, config.trainer.batch).to(device)
    _train(config, grid, vectors, labels, kept, run, f"linear: {len(grid.heads)} heads")
    test, answers = _read(features, config.test, names), features.labels(config.test)
    held, tested = linear.ask(grid, vectors, labels, asked)[0], linear.ask(grid, test, answers)[0]
    choice = Choice(grid.heads, held, tested, len(asked), int((answers >= 0).sum()))
    head = choice.head
    alone = replace(config.grid, rates=(head.rate,), batch_norm="with" if head.batch_norm else "without")
    chosen = alone.build({head.tap: widths[head.tap]}, count, config.trainer.batch).to(device)
    _train(config, chosen, {head.tap: vectors[head.tap]}, labels, everyone, None, "linear: the chosen head")
    accuracy = linear.ask(chosen, test, answers, head=0)[1]
    assert accuracy is not None
    return choice, accuracy, features.classes, f"trained again on all {len(everyone):,} labels"


def _check_classes(config: Config, names: tuple[str, ...], learnt: Tensor, asked: Tensor, where: str, run: Run) -> None:
    doubts = classes.check(names, learnt.numpy(), asked.numpy(), where, train=config.train, test=config.test)
    say(run, "linear", doubts)


def _read(features: FeatureSet, split: str, names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: features.read(split, name).features for name in names}


def _train(
    config: Config,
    grid: Grid,
    vectors: Mapping[str, Tensor],
    labels: Tensor,
    rows: Tensor,
    run: Run | None,
    label: str,
) -> None:
    """Train on some rows as the recipe says, and record it in `run`."""
    trainer = config.trainer
    per_epoch = len(rows) / trainer.batch
    steps = max(1, math.ceil(Duration.parse(trainer.duration).steps(per_epoch)))
    factor = partial(config.schedule.factor, steps=steps, per_epoch=per_epoch)
    with Progress(steps * trainer.batch, unit="samples", label=label) as progress:

        def report(step: int, losses: Tensor) -> None:
            if not trainer.records(step, steps):
                return progress.update(trainer.batch)
            least = round(float(losses.nan_to_num(math.inf).min()), 6)
            if run is not None and math.isfinite(least):
                run.record(step=step, epoch=round(step / per_epoch, 4), loss=least, rate=factor(step - 1))
            progress.update(trainer.batch, loss=least)

        linear.train(
            grid,
            vectors,
            labels,
            batch=trainer.batch,
            steps=steps,
            factor=factor,
            seed=config.seed,
            rows=rows,
            report=report,
        )


def _over_crops(config: Config, source: Artifact, run: Run) -> tuple[Fitted, Found]:
    train, test = (labelled(config.shards, split, "linear") for split in (config.train, config.test))
    model = backbones.architecture(source)
    try:
        wanted = taps(config.taps or (AVERAGE,))
        widths = {tap.name: tap.width(model.stages().widths) for tap in wanted}
    except ValueError as error:
        raise RunError(config.checkpoint, str(error), "name taps that this network has") from None
    with torch.device("meta"):
        objective = _probing(config, source, wanted, widths, len(train.classes))
    labels = torch.from_numpy(train.labels())
    _, kept, asked = dealt(labels, config.held_out, config.seed, config.shards)
    _check_classes(config, train.classes, labels[kept], torch.from_numpy(test.labels()), config.shards, run)
    loader = crops_of(train, kept.numpy(), config.views, config.trainer, run, seed=config.seed, max_bad=config.max_bad)
    fitted = fit(
        objective,
        loader,
        run,
        trainer=config.trainer,
        # What tells heads apart is in their gradients.
        optimizer=SGD.Config(
            rate=1.0,
            per=None,
            momentum=config.grid.momentum,
            nesterov=config.grid.nesterov,
            weight_decay=0.0,
            larc=None,
        ),
        schedule=config.schedule,
        samples=len(kept),
        seed=config.seed,
        label="linear",
        config=to_mapping(config),
        weights=Weights(source.path / str(source.facts["checkpoint"])),
    )
    trainer = config.trainer
    with torch.device("meta"):
        probing = _probing(config, source, wanted, widths, len(train.classes))
    trained.load(probing, fitted.checkpoint, trainer, trained.meet(trainer))
    view = (config.view or backbones.view(source)).build()
    shown = partial(
        Loader,
        batch=min(256, 2 * trainer.share) * trainer.processes,
        rank=distributed.rank(),
        world=trainer.processes,
        threads=trainer.threads,
        shuffle=False,
    )
    with Progress(len(asked) + test.samples, unit="images", label="linear: test", quiet=not run.writes) as progress:
        with shown(train, view, subset=asked.numpy(), ledger=Ledger(max_rate=config.max_bad)) as loader:
            held = ask(probing, loader, progress)
        with shown(test, view, ledger=Ledger(max_rate=config.max_bad)) as loader:
            tested = ask(probing, loader, progress, best(held.right))
    assert tested.accuracy is not None
    choice = Choice(probing.grid.heads, held.right, tested.right, held.samples, tested.samples)
    return fitted, (choice, tested.accuracy, train.classes, f"trained on the other {len(kept):,} labels")


def _probing(
    config: Config, source: Artifact, wanted: tuple[Tap, ...], widths: Mapping[str, int], classes: int
) -> Probing:
    grid = config.grid.build(widths, classes, config.trainer.batch)
    return Probing(backbones.architecture(source).build(), wanted, grid)


def _result(
    run: Run, choice: Choice, accuracy: Accuracy, classes: tuple[str, ...], how: str, files: tuple[str, ...]
) -> Result:
    """Write and print what was found."""
    figures = {
        "accuracy": round(accuracy.top1, 4),
        "accuracy_top5": round(accuracy.top5, 4),
        "held_out": round(choice.accuracy, 4),
    }
    scores = {**accuracy.to_mapping(classes), **choice.to_mapping()}
    if run.writes:
        tables = choice.tables(accuracy, how)
        results.save(run.path, tables, [choice.chart()])
        print("\n\n".join(map(str, tables)), flush=True)
        write_atomically(run.path / SCORES, json.dumps(scores, indent=1))
    return Result(
        kind="scores",
        content=digest(scores),
        files=(SCORES, results.FILE, *files),
        figures=figures,
        facts={"classes": list(classes), "head": choice.head._asdict()},
    )
