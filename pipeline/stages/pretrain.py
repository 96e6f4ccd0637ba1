"""pretrain: shards into a checkpoint, by any objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from data_shards.errors import ShardError
from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.loading.sets import ShardSets
from data_shards.reading.cache import CacheSettings
from data_shards.stream import ShardSet
from pipeline import distributed
from pipeline.artifacts import Artifact, checkpoint_content
from pipeline.checkpoints.store import read_tensors
from pipeline.config import to_mapping
from pipeline.evaluation.gallery import draw_crops, draw_prototypes
from pipeline.evaluation.observing import Task
from pipeline.models.regnet import RegNet
from pipeline.objectives import AnyObjective, SwAV
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result
from pipeline.training.fit import Fitted, fit
from pipeline.training.optimizers import SGD, AnyOptimizer
from pipeline.training.schedules import Schedule, WarmupCosine
from pipeline.training.settings import TrainerConfig
from pipeline.training.watch import Watch
from pipeline.views import Evaluation, MultiCrop, PretrainViews


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several shard sets that are mixed."""

    path: str
    """Run directory of `shard`, any directory or URL with a manifest, or anyone's WebDataset tars."""
    weight: float = 1.0
    """How many of its samples come for each of a set of weight 1."""

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight is {self.weight}; leave the set out instead")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `pretrain`."""

    out: str = field(default="runs/pretrain", metadata={"identity": False})
    """Run directory."""
    shards: str | tuple[Part, ...] = field(default="runs/shard", metadata={"identity": False})
    """Run directory of `shard`, any directory or URL with a manifest, or WebDataset tars; or several, with weights."""
    grows: bool = False
    """Whether shards may be added to the sets between two starts of the run; they join in with the next epoch."""
    cache: CacheSettings = field(default_factory=CacheSettings, metadata={"identity": False})
    """Where shards that lie at a URL are kept."""
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
    schedule: Schedule = field(default_factory=WarmupCosine)
    """How the learning rate changes."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """How training runs."""
    max_bad: float = field(default=0.01, metadata={"identity": False})
    """Share of undecodable samples above which the run stops."""

    def __post_init__(self) -> None:
        if not self.shards:
            raise ValueError("shards is empty; name a shard set")
        if self.grows and "epoch" in str(self.trainer.duration):
            raise ValueError(
                "with grows, epochs have no fixed length; give trainer.duration in steps, such as 100k steps"
            )
        self.trainer.check_stages(tuple(self.model.stages().depths))
        self.objective.check(self.trainer.batch)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The shard sets; the first one is looked at for the report."""
        return (Part(path=self.shards),) if isinstance(self.shards, str) else self.shards


def inputs(config: Config) -> Mapping[str, Input]:
    """The shards. Weights are part of the names, for another mixture is another run."""
    one = len(config.parts) == 1
    names = ["shards" if one else f"shards {n}, weight {part.weight:g}" for n, part in enumerate(config.parts, 1)]
    return {
        name: Input(part.path, "shards", split=config.split, may_change=config.grows)
        for name, part in zip(names, config.parts, strict=True)
    }


def check(config: Config) -> None:
    """What this machine cannot do, before anything is begun."""
    config.trainer.check_machine()


def loader_for(config: Config, rank: int = 0, world: int = 1, ledger: Ledger | None = None) -> Loader:
    """The batches of one process, as the recipe asks for them."""
    sets = [ShardSet(part.path, config.split, cache=config.cache) for part in config.parts]
    return Loader(
        ShardSets(sets, [part.weight for part in config.parts]),
        config.views.build(),
        batch=config.trainer.batch,
        rank=rank,
        world=world,
        seed=config.seed,
        threads=config.trainer.threads,
        ledger=ledger,
        stall_seconds=config.trainer.stall_seconds,
        on_stall=config.trainer.on_stall,
    )


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Train; a killed run goes on from its newest good checkpoint."""
    for doubt in config.objective.check(config.trainer.batch) if run.writes else ():
        print(f"pretrain: {doubt}")
    with torch.device("meta"):
        objective = config.objective.build(config.model.build())
    rank, world = distributed.rank(), distributed.world_size()
    loader = loader_for(config, rank, world, Ledger.of_run(run.path, rank, config.max_bad))
    first = loader.sets.sets[0]
    watch = Watch(run, watched(config, first), config.trainer.watch_every)
    fitted = fit(
        objective,
        loader,
        run,
        trainer=config.trainer,
        optimizer=config.optimizer,
        schedule=config.schedule,
        samples=loader.samples,
        seed=config.seed,
        label="pretrain",
        config=to_mapping(config),
        callbacks=[watch],
    )
    watch.finish(fitted.steps)
    pictures = gallery(config, first, fitted, run) if run.writes else ()
    facts = {
        "checkpoint": str(fitted.checkpoint.relative_to(run.path)),
        "model": to_mapping(config.model),
        "view": to_mapping(config.view),
        "steps": fitted.steps,
    }
    return Result(
        kind="checkpoint",
        content=checkpoint_content(fitted.content, facts),
        files=(*fitted.files(run.path), *pictures),
        figures=losses(run),
        facts=facts,
    )


def watched(config: Config, first: ShardSet) -> Task | None:
    """What kNN accuracy is measured on meanwhile, where there are labels and a test split."""
    try:
        test = ShardSet(first.where, "test", cache=config.cache)
    except ShardError:
        return None
    if not first.classes:
        return None
    bank, query = ((shard_set.where, shard_set.split) for shard_set in (first, test))
    return Task(model=config.model, view=config.view, bank=bank, query=query, cache=config.cache)


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
