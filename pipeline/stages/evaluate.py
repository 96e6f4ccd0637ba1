"""evaluate: a classifier on labelled shards, of its own classes or of some of them, as the field reports it.

Top-1 and top-5 with their intervals, each class, what is taken for what, and whether the network's confidence is
earned. Several checkpoints that differ by their seeds give a mean and how sure that is. Processes share the samples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.progress import Progress
from data_shards.reading.cache import CacheSettings
from data_shards.stream import ShardSet
from pipeline import results
from pipeline.artifacts import Artifact, digest, write_atomically
from pipeline.config import to_mapping
from pipeline.errors import ArtifactError
from pipeline.evaluation.classified import scorecard
from pipeline.evaluation.classified.measured import Measured, measure
from pipeline.evaluation.classified.real import Real
from pipeline.evaluation.compute import Compute, Team, together
from pipeline.evaluation.labels.asked_classes import Among, AskedClasses, Strangers
from pipeline.released import backbones
from pipeline.results import SCORES
from pipeline.runs import Run
from pipeline.stages.labelled import hash_of, labelled, require_same
from pipeline.stages.stage import Input, Result
from pipeline.views import Evaluation

REAL_CURE = "name ImageNet-ReaL's real.json"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `evaluate`."""

    out: str = field(default="runs/evaluate", metadata={"identity": False})
    """Run directory."""
    shards: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory of `shard`, or WebDataset tars; the samples need labels."""
    checkpoint: str | tuple[str, ...] = field(default="runs/finetune", metadata={"identity": False})
    """Run directory of `finetune` or `fetch` with a classifier; a list of runs that differ by seed, for an interval."""
    split: str = "test"
    """Split that is asked about."""
    among: Among = "test"
    """What the network chooses among: the classes of the test, as published for ImageNet-A and -R, or all it knows."""
    strangers: Strangers = "refuse"
    """Classes of the test that the network does not know: refuse, or leave_out their images."""
    real: str | None = None
    """ImageNet-ReaL's file of labels, several an image: a further accuracy, on ImageNet's validation set."""
    view: Evaluation.Config | None = None
    """How a picture is shown to the network; null for what its checkpoint asks for."""
    compute: Compute = field(default_factory=Compute)
    """How the network runs."""
    cache: CacheSettings = field(default_factory=CacheSettings, metadata={"identity": False})
    """Where shards that lie at a URL are kept on this machine."""
    max_bad: float = field(default=0.01, metadata={"identity": False})
    """Share of undecodable samples above which the run stops."""

    def __post_init__(self) -> None:
        if not self.checkpoints or len(set(self.checkpoints)) < len(self.checkpoints):
            raise ValueError("checkpoint names at least one run, and none twice")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """All of them."""
        return (self.checkpoint,) if isinstance(self.checkpoint, str) else self.checkpoint


def inputs(config: Config) -> Mapping[str, Input]:
    """Labelled shards and one or several classifiers."""
    several = len(config.checkpoints) > 1
    return {
        "shards": Input(config.shards, "shards", split=config.split),
        **{
            f"checkpoint {n}" if several else "checkpoint": Input(path, "checkpoint", ("finetune", "fetch"))
            for n, path in enumerate(config.checkpoints, 1)
        },
    }


def check(config: Config) -> None:
    """Whether the classes can be asked about and this machine can compute it, before anything is begun."""
    config.compute.device()
    shard_set = labelled(config.shards, config.split, "evaluate", config.cache)
    for path in config.checkpoints:
        checkpoint = Artifact.load(path, "checkpoint", wanted_by="evaluate", key="checkpoint")
        _asked(config, shard_set, checkpoint)
        if config.real is not None:
            Real.read(config.real, len(checkpoint.facts["classes"])).of(shard_set.key(0, 0))


def recheck(config: Config, artifact: Artifact) -> None:
    """Raise `RunError` where ReaL's file has become another one since the run."""
    if config.real is not None:
        require_same(config.real, REAL_CURE, artifact, "real")


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Measure one checkpoint after the other; nothing is kept of a killed run."""
    shard_set = labelled(config.shards, config.split, "evaluate", config.cache)
    given = [artifact for name, artifact in inputs.items() if name != "shards"]
    asked = [_asked(config, shard_set, artifact) for artifact in given]
    with together() as team:
        total = len(given) * len(team.share(shard_set.samples))
        with Progress(total, unit="images", label="evaluate", quiet=not team.is_first) as progress:
            found = [
                _measure(config, shard_set, artifact, classes, team, progress)
                for artifact, classes in zip(given, asked, strict=True)
            ]
    return _result(config, run, given, asked, found)


def _asked(config: Config, shard_set: ShardSet, checkpoint: Artifact) -> AskedClasses:
    """The classes that this checkpoint is asked about. Raises `ArtifactError` where it has none, or others."""
    known = checkpoint.facts.get("classes") or ()
    if not known:
        raise ArtifactError(
            str(checkpoint.path),
            "has no classifier",
            "evaluate needs one; train it with finetune, or measure the backbone with knn or linear",
            "python -m pipeline finetune RECIPE.yaml",
        )
    return AskedClasses.of(
        shard_set.classes, known, among=config.among, strangers=config.strangers, where=config.shards
    )


def _measure(
    config: Config, shard_set: ShardSet, checkpoint: Artifact, asked: AskedClasses, team: Team, progress: Progress
) -> Measured:
    """One checkpoint over the whole split, shared by all processes."""
    device, compute = config.compute.device(), config.compute
    backbone, classifier = backbones.load(checkpoint).to(device), backbones.classifier(checkpoint)
    assert classifier is not None, "it was asked about its classes"
    classifier = classifier.to(device)
    view = config.view or backbones.view(checkpoint)
    real = Real.read(config.real, len(checkpoint.facts["classes"])) if config.real is not None else None

    def judge(chosen: Tensor, indices: Tensor) -> tuple[int, int]:
        return real.judge(chosen, shard_set.keys_at(indices.numpy())) if real else (0, 0)

    with Loader(
        shard_set,
        view.build(),
        batch=compute.batch * team.world,
        rank=team.rank,
        world=team.world,
        threads=compute.threads,
        shuffle=False,
        ledger=Ledger(max_rate=config.max_bad),
    ) as loader:
        found = measure(
            backbone, classifier, loader, asked, judge=judge, precision=compute.dtype, progress=progress
        ).summed(team.sum)
    found.require_sound(str(checkpoint.path), "use compute.precision=fp32, and a checkpoint whose training went well")
    if not found.accuracy.samples:
        raise ArtifactError(
            config.shards, f"has no sample in split {config.split} whose class is known", "name a split with labels"
        )
    return found


def _result(
    config: Config, run: Run, given: list[Artifact], asked: list[AskedClasses], found: list[Measured]
) -> Result:
    names = dict(zip(_names(config.checkpoints), found, strict=True))
    all_scores = {
        name: scorecard.scores(one, classes.names) for (name, one), classes in zip(names.items(), asked, strict=True)
    }
    alone = len(found) == 1
    if run.writes:
        tables, charts = [scorecard.summary(names, config.split)], [scorecard.reliability(names)]
        if alone:
            tables += [scorecard.worst(found[0], asked[0].names), scorecard.confused(found[0], asked[0].names)]
        results.save(run.path, tables[:1], charts)  # the report draws classes and pairs from the scores, of all runs
        told = next(iter(all_scores.values())) if alone else {"checkpoints": all_scores}
        write_atomically(run.path / SCORES, json.dumps(told, indent=1))
        print("\n\n".join(map(str, tables)), flush=True)
    return Result(
        kind="scores",
        content=digest(list(all_scores.values())),
        files=(SCORES, results.FILE) if run.writes else (),
        figures=scorecard.figures(found),
        facts={
            "views": [to_mapping(config.view or backbones.view(checkpoint)) for checkpoint in given],
            **({"real": hash_of(config.real, REAL_CURE)} if config.real is not None else {}),
        },
    )


def _names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    for parts in range(1, 1 + max(len(Path(path).parts) for path in paths)):
        names = ["/".join(Path(path).parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return list(paths)
