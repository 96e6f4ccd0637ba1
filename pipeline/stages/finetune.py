"""finetune: a pretrained backbone and labels into a classifier; or the same network from scratch, to compare.

The same training code as pretraining, with another objective: it shards, resumes and checkpoints the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.progress import Progress
from data_shards.stream import ShardSet
from pipeline import distributed
from pipeline.artifacts import Artifact, write_atomically
from pipeline.checkpoints.store import read_tensors
from pipeline.config import to_mapping
from pipeline.errors import TrainingError
from pipeline.evaluation.accuracy import Accuracy, classify
from pipeline.objectives import Classification
from pipeline.released import backbones
from pipeline.runs import Run
from pipeline.stages.labelled import labelled
from pipeline.stages.stage import Input, Result
from pipeline.training.fit import Fitted, fit
from pipeline.training.optimizers import SGD, AnyOptimizer
from pipeline.training.schedules import Schedule, WarmupCosine
from pipeline.training.settings import TrainerConfig
from pipeline.training.weights import Weights
from pipeline.views import Evaluation, Labelled

SCORES = "scores.json"


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
    labels: float = 1.0
    """Share of each class's labels that is used, 0 to 1; a seeded, balanced choice."""
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
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """How training runs."""
    max_bad: float = field(default=0.01, metadata={"identity": False})
    """Share of undecodable samples above which the run stops."""

    def __post_init__(self) -> None:
        if not 0 < self.labels <= 1:
            raise ValueError(f"labels is a share above 0 and at most 1, but {self.labels} was given")


def inputs(config: Config) -> Mapping[str, Input]:
    """Labelled shards and a pretrained checkpoint."""
    return {
        "shards": Input(config.shards, "shards"),
        "checkpoint": Input(config.checkpoint, "checkpoint", ("pretrain", "fetch")),
    }


def check(config: Config) -> None:
    """What this machine cannot do, before anything is begun."""
    config.trainer.check_machine()


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Train, then measure on the test split; a killed run goes on from its newest good checkpoint."""
    source = inputs["checkpoint"]
    train, test = (labelled(config.shards, split, "finetune") for split in (config.train, config.test))
    view = config.view or backbones.view(source)
    model = backbones.architecture(source)
    try:
        config.trainer.check_stages(tuple(model.stages().depths))
    except ValueError as error:
        raise TrainingError(config.checkpoint, str(error), "set trainer.recompute for this backbone") from None
    with torch.device("meta"):
        objective = config.objective.build(model.build(), len(train.classes))
    chosen = balanced(train.labels(), config.labels, config.seed)
    loader = Loader(
        train,
        config.views.build(),
        batch=config.trainer.batch,
        rank=distributed.rank(),
        world=distributed.world_size(),
        seed=config.seed,
        threads=config.trainer.threads,
        subset=chosen,
        stall_seconds=config.trainer.stall_seconds,
        on_stall=config.trainer.on_stall,
        ledger=Ledger.of_run(run.path, distributed.rank(), config.max_bad),
    )
    fitted = fit(
        objective,
        loader,
        run,
        trainer=config.trainer,
        optimizer=config.optimizer,
        schedule=config.schedule,
        samples=len(chosen),
        seed=config.seed,
        label="finetune",
        config=to_mapping(config),
        weights=Weights(source.path / str(source.facts["checkpoint"])) if config.start == "pretrained" else None,
    )
    figures = {}
    if run.writes:
        accuracy = _measure(config, view, source, fitted, test, run)
        figures = {"accuracy": round(accuracy.top1, 4)}
    return Result(
        kind="checkpoint",
        content=fitted.content,
        files=(SCORES, *fitted.files(run.path)),
        figures=figures,
        facts={
            "checkpoint": str(fitted.checkpoint.relative_to(run.path)),
            "model": to_mapping(model),
            "view": to_mapping(view),
            "classes": list(train.classes),
            "labels": len(chosen),
        },
    )


def balanced(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Indices, in order, of a seeded choice of `share` of each class, at least one; unlabelled samples are left out."""
    draw = np.random.Generator(np.random.Philox(key=[seed, 0]))
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        chosen.append(draw.permutation(members)[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _measure(
    config: Config, view: Evaluation.Config, source: Artifact, fitted: Fitted, test: ShardSet, run: Run
) -> Accuracy:
    """Accuracy of the checkpoint as it lies on disk, over the whole test split."""
    objective = config.objective.build(backbones.architecture(source).build(), len(test.classes))
    objective.load_state_dict(read_tensors(fitted.checkpoint, ""))
    with (
        Loader(test, view.build(), batch=256, threads=config.trainer.threads, shuffle=False) as loader,
        Progress(test.samples, unit="images", label="finetune: test") as progress,
    ):
        accuracy = classify(objective.backbone, objective.classifier, loader, progress=progress)
    write_atomically(run.path / SCORES, json.dumps(accuracy.to_mapping(test.classes), indent=1))
    run.record(step=fitted.steps, test_accuracy=accuracy.top1)
    return accuracy
