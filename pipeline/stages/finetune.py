"""finetune: a pretrained backbone and labels into a classifier; or the same network from scratch, to compare.

The same training code as pretraining, with another objective: it shards, resumes and checkpoints the same way. What it
leaves is the network at the end of training, or its average over the steps where `average` asks for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.order import Stream
from data_shards.progress import Progress
from data_shards.stream import ShardSet
from pipeline import distributed, results
from pipeline.artifacts import Artifact, checkpoint_content, write_atomically
from pipeline.checkpoints.state import AVERAGE, OBJECTIVE
from pipeline.checkpoints.store import content
from pipeline.config import to_mapping
from pipeline.errors import TrainingError
from pipeline.evaluation.classified import scorecard
from pipeline.evaluation.classified.measured import Measured
from pipeline.evaluation.labels import classes, splits
from pipeline.objectives import Classification
from pipeline.released import backbones
from pipeline.results import SCORES
from pipeline.runs import Run
from pipeline.stages.labelled import crops_of, hash_of, labelled, require_same, say
from pipeline.stages.stage import Input, Result
from pipeline.training import trained
from pipeline.training.ema import Average
from pipeline.training.fit import Fitted, fit
from pipeline.training.optimizers import SGD, AnyOptimizer
from pipeline.training.schedules import Schedule, WarmupCosine
from pipeline.training.settings import TrainerConfig
from pipeline.training.weights import Weights
from pipeline.views import Evaluation, Labelled

LIST_CURE = "labels is a share, or a file"
AVERAGED = "averaged"
"""Folder of the run with the checkpoint of the average alone."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `finetune`."""

    out: str = field(default="runs/finetune", metadata={"identity": False})
    """Run directory."""
    shards: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory of `shard`; its samples need labels."""
    checkpoint: str = field(default="runs/pretrain", metadata={"identity": False})
    """Run directory of `pretrain` or `fetch`: gives the architecture, and the weights to start from."""
    start: Literal["pretrained", "scratch"] = "pretrained"
    """Begin with the checkpoint's weights, or with the same network untrained."""
    train: str = "train"
    """Split to learn from."""
    test: str = "test"
    """Split whose accuracy is reported."""
    labels: float | str = 1.0
    """Labels that are used: a share of each class, 0 to 1, by a seeded choice; or a file that lists images by name."""
    per_class: int | None = None
    """So many labels of each class instead, by a seeded choice; null for `labels`."""
    classifier: Literal["new", "checkpoint"] = "new"
    """Begin with a new classifier, or with the checkpoint's own, where it knows all classes by their names."""
    seed: int = 0
    """Seed of the choice of labels, new weights, data order and crops."""
    views: Labelled.Config = field(default_factory=Labelled.Config)
    """Crops for training."""
    view: Evaluation.Config | None = None
    """How a picture is shown when accuracy is measured; null for what the checkpoint asks for."""
    objective: Classification.Config = field(default_factory=Classification.Config)
    """What is learnt."""
    optimizer: AnyOptimizer = field(default_factory=SGD.Config)
    """How weights are changed."""
    schedule: Schedule = field(default_factory=WarmupCosine)
    """How the learning rate changes."""
    average: Average.Config | None = None
    """How weights are averaged over the steps; null for the weights as they are at the end."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """How training runs."""
    max_bad: float = field(default=0.01, metadata={"identity": False})
    """Share of undecodable samples above which the run stops."""

    def __post_init__(self) -> None:
        if not isinstance(self.labels, str) and not 0 < self.labels <= 1:
            raise ValueError(
                f"labels is a share above 0 and at most 1, or a file that lists images, but {self.labels} was given"
            )
        if self.per_class is not None and (self.per_class < 1 or self.labels != 1):
            raise ValueError("per_class must be at least 1, and takes the place of labels; give one of the two")
        if self.classifier == "checkpoint" and self.start == "scratch":
            raise ValueError("classifier is checkpoint, but start is scratch; a network from scratch has a new one")


def inputs(config: Config) -> Mapping[str, Input]:
    """Labelled shards and a pretrained checkpoint."""
    return {
        "shards": Input(config.shards, "shards"),
        "checkpoint": Input(config.checkpoint, "checkpoint", ("pretrain", "fetch")),
    }


def check(config: Config) -> None:
    """What this machine cannot do, before anything is begun."""
    config.trainer.check_machine()


def recheck(config: Config, artifact: Artifact) -> None:
    """Raise `RunError` where the list of labels has become another one since the run."""
    if isinstance(config.labels, str):
        require_same(config.labels, LIST_CURE, artifact, "listed")


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Train, then measure on the test split; a killed run goes on from its newest good checkpoint."""
    source = inputs["checkpoint"]
    train, test = (labelled(config.shards, split, "finetune") for split in (config.train, config.test))
    labels = train.labels()
    chosen = choose(config, train, labels)
    doubts = classes.check(
        train.classes, labels[chosen], test.labels(), config.shards, train=config.train, test=config.test
    )
    say(run, "finetune", doubts)
    model = backbones.architecture(source)
    try:
        config.trainer.check_stages(tuple(model.stages().depths))
    except ValueError as error:
        raise TrainingError(config.checkpoint, str(error), "set trainer.recompute for this backbone") from None
    loader = crops_of(train, chosen, config.views, config.trainer, run, seed=config.seed, max_bad=config.max_bad)

    assert isinstance(loader.stream, Stream)
    dealt = loader.stream.lane_count > 1

    def on_meta() -> Classification:
        with torch.device("meta"):
            return config.objective.build(model.build(), len(train.classes), seed=config.seed, dealt=dealt)

    fitted = fit(
        on_meta(),
        loader,
        run,
        trainer=config.trainer,
        optimizer=config.optimizer,
        schedule=config.schedule,
        samples=len(chosen),
        seed=config.seed,
        label="finetune",
        config=to_mapping(config),
        weights=_weights(config, source, train) if config.start == "pretrained" else None,
        average=config.average,
    )
    view = config.view or backbones.view(source)
    fitted, measured = _measure(config, view, on_meta(), fitted, test, train.classes, run)
    facts = {
        "checkpoint": str(fitted.checkpoint.relative_to(run.path)),
        "model": to_mapping(model),
        "view": to_mapping(view),
        "classes": list(train.classes),
        "labels": len(chosen),
        **({"listed": hash_of(config.labels, LIST_CURE)} if isinstance(config.labels, str) else {}),
    }
    return Result(
        kind="checkpoint",
        content=checkpoint_content(fitted.content, facts),
        files=(SCORES, results.FILE, *fitted.files(run.path)) if run.writes else (),
        figures=scorecard.figures([measured]),
        facts=facts,
    )


def choose(config: Config, train: ShardSet, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the samples whose labels are used, in order."""
    if isinstance(config.labels, str):
        return splits.listed(config.labels, train)
    if config.per_class is not None:
        return splits.few(labels, config.per_class, config.seed)
    return splits.balanced(labels, config.labels, config.seed)


def _weights(config: Config, source: Artifact, train: ShardSet) -> Weights:
    known = list(source.facts.get("classes") or ())
    rows = None
    if config.classifier == "checkpoint":
        rows = classes.rows_of(train.classes, known, config.shards, config.checkpoint)
    return Weights(source.path / str(source.facts["checkpoint"]), rows)


def _measure(
    config: Config,
    view: Evaluation.Config,
    objective: Classification,
    fitted: Fitted,
    test: ShardSet,
    names: Sequence[str],
    run: Run,
) -> tuple[Fitted, Measured]:
    """What the run has come to, as it lies on the disk: its checkpoint, and what that gives on the whole test split."""
    trainer = config.trainer
    device = trained.meet(trainer)
    trained.load(objective, fitted.checkpoint, trainer, device, AVERAGE if config.average else OBJECTIVE)
    if config.average:
        saved = trained.keep(objective, run.path / AVERAGED, fitted.steps)
        fitted = Fitted(saved.path, content(saved.path) if run.writes else "", fitted.steps)
    loader = Loader(
        test,
        view.build(),
        batch=min(256, 2 * trainer.share) * trainer.processes,
        rank=distributed.rank(),
        world=trainer.processes,
        threads=trainer.threads,
        shuffle=False,
        ledger=Ledger(max_rate=config.max_bad),
    )
    with loader, Progress(test.samples, unit="images", label="finetune: test", quiet=not run.writes) as progress:
        measured = trained.classify(objective, loader, progress)
    measured.require_sound(
        str(fitted.checkpoint), "its training did not go well: lower optimizer.rate, and choose another out=DIR"
    )
    if run.writes:
        write_atomically(run.path / SCORES, json.dumps(scorecard.scores(measured, names), indent=1))
        run.record(step=fitted.steps, test_accuracy=measured.accuracy.top1)
        named: dict[str, Measured] = {config.start: measured}
        summary = scorecard.summary(named, config.test)
        # The report draws classes and pairs from the scores, of all runs.
        results.save(run.path, [summary], [scorecard.reliability(named)])
        print(summary, scorecard.worst(measured, names), scorecard.confused(measured, names), sep="\n\n", flush=True)
    return fitted, measured
