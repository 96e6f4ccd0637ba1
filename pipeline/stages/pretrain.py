"""pretrain: shards into a checkpoint, by any objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline import distributed
from pipeline.artifacts import Artifact
from pipeline.checkpoints.store import read_tensors
from pipeline.config import to_mapping
from pipeline.evaluation.gallery import draw_crops, draw_prototypes
from pipeline.models.regnet import RegNet
from pipeline.models.seeds import seeded
from pipeline.objectives import AnyObjective, SwAV
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result
from pipeline.training.fit import Fitted, fit
from pipeline.training.optimizers import SGD, AnyOptimizer
from pipeline.training.schedules import Schedule
from pipeline.training.settings import TrainerConfig
from pipeline.training.watch import Watch
from pipeline.views import Evaluation, MultiCrop, PretrainViews


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `pretrain`."""

    out: str = field(default="runs/pretrain", metadata={"identity": False})
    """Run directory."""
    shards: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory of `shard`, or any directory with a manifest."""
    split: str = "train"
    """Split of the shard set to learn from; its labels are not looked at."""
    seed: int = 0
    """Seed of weights, data order and crops."""
    model: RegNet.Config = field(default_factory=RegNet.Config)
    """Backbone."""
    views: PretrainViews = field(default_factory=MultiCrop.Config)
    """What the objective sees of an image."""
    view: Evaluation.Config = field(default_factory=Evaluation.Config, metadata={"identity": False})
    """How a picture is shown when kNN accuracy is watched."""
    objective: AnyObjective = field(default_factory=SwAV.Config)
    """What is learnt."""
    optimizer: AnyOptimizer = field(default_factory=SGD.Config)
    """How weights are changed."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the learning rate changes."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """How training runs."""
    max_bad: float = field(default=0.01, metadata={"identity": False})
    """Share of undecodable samples above which the run stops."""


def inputs(config: Config) -> Mapping[str, Input]:
    """The shards."""
    return {"shards": Input(config.shards, "shards")}


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Train; a killed run goes on from its newest good checkpoint."""
    shard_set = ShardSet(inputs["shards"].path, config.split)
    with seeded(config.seed):
        backbone = config.model.build()
        objective = config.objective.build(backbone)
    loader = Loader(
        shard_set,
        config.views.build(),
        batch=config.trainer.batch,
        rank=distributed.rank(),
        world=distributed.world_size(),
        seed=config.seed,
        threads=config.trainer.threads,
        ledger=Ledger.of_run(run.path, distributed.rank(), config.max_bad),
    )
    fitted = fit(
        objective,
        loader,
        run,
        trainer=config.trainer,
        optimizer=config.optimizer,
        schedule=config.schedule,
        samples=shard_set.samples,
        label="pretrain",
        config=to_mapping(config),
        callbacks=[
            Watch(run, inputs["shards"].path, config.split, config.model, config.view, config.trainer.watch_every)
        ],
    )
    pictures = gallery(config, shard_set, fitted, run) if run.writes else ()
    return Result(
        kind="checkpoint",
        content=fitted.content,
        files=(*fitted.files(run.path), *pictures),
        figures=losses(run),
        facts={
            "checkpoint": str(fitted.checkpoint.relative_to(run.path)),
            "model": to_mapping(config.model),
            "steps": fitted.steps,
        },
    )


def losses(run: Run) -> dict[str, float]:
    """First loss, mean of the last tenth, and what guessing gives where the objective says so."""
    records = [record for record in run.records() if "loss" in record]
    tail = records[-max(1, len(records) // 10) :]
    figures = {"loss_first": records[0]["loss"], "loss_last": sum(record["loss"] for record in tail) / len(tail)}
    if "ln_k" in records[0]:
        figures["ln_k"] = records[0]["ln_k"]
    return {name: round(value, 4) for name, value in figures.items()}


def gallery(config: Config, shard_set: ShardSet, fitted: Fitted, run: Run) -> tuple[str, ...]:
    """Pictures for the report: crops as the network saw them, and the images nearest to prototypes."""
    objective = config.objective.build(config.model.build())
    objective.load_state_dict(read_tensors(fitted.checkpoint, ""))
    names = [draw_crops(shard_set, config.views.build(), config.seed, run.path)]
    names += draw_prototypes(shard_set, objective, config.view.build(), run.path)
    return tuple(names)
