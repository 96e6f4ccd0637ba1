"""probe: how well frozen features tell classes apart, beside the same network untrained.

Weighted kNN and a linear probe on features of the labelled bank split, asked about the query split. The untrained
network is the yardstick: what the architecture and the pictures give for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from data_shards.loader import Loader
from data_shards.progress import Progress
from data_shards.stream import ShardSet
from pipeline.artifacts import Artifact, digest, write_atomically
from pipeline.evaluation.energy import effective_rank
from pipeline.evaluation.features import Features, extract
from pipeline.evaluation.heads.logistic import LogisticRegression
from pipeline.evaluation.search.knn import KNN
from pipeline.models.initialise import initialise
from pipeline.models.regnet import RegNet
from pipeline.released import backbones
from pipeline.results import SCORES
from pipeline.runs import Run
from pipeline.stages.labelled import labelled
from pipeline.stages.stage import Input, Result
from pipeline.views import Evaluation


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `probe`."""

    out: str = field(default="runs/probe", metadata={"identity": False})
    """Run directory."""
    shards: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory of `shard`; its samples need labels."""
    checkpoint: str = field(default="runs/pretrain", metadata={"identity": False})
    """Run directory of `pretrain` or `finetune`."""
    bank: str = "train"
    """Split whose labels are known to the probes."""
    query: str = "test"
    """Split that is asked about."""
    view: Evaluation.Config | None = None
    """How a picture is shown to the frozen network; null for what its checkpoint asks for."""
    knn: KNN.Config = field(default_factory=KNN.Config)
    """Weighted nearest neighbours."""
    linear: LogisticRegression.Config = field(default_factory=LogisticRegression.Config)
    """Linear classifier on frozen features."""
    baseline: bool = True
    """Whether the same network untrained is measured too."""
    seed: int = 0
    """Seed of the untrained network."""
    batch: int = field(default=256, metadata={"identity": False})
    """Images per forward pass."""
    threads: int = field(default=2, metadata={"identity": False})
    """Threads that decode."""


def inputs(config: Config) -> Mapping[str, Input]:
    """Labelled shards and a checkpoint."""
    return {
        "shards": Input(config.shards, "shards"),
        "checkpoint": Input(config.checkpoint, "checkpoint", ("pretrain", "fetch", "finetune")),
    }


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Measure; nothing is kept of a killed run, it takes minutes at most."""
    sets = {split: labelled(config.shards, split, "probe") for split in (config.bank, config.query)}
    view = config.view or backbones.view(inputs["checkpoint"])
    networks = {"pretrained": backbones.load(inputs["checkpoint"])}
    if config.baseline:
        with torch.device("meta"):
            random = backbones.architecture(inputs["checkpoint"]).build()
        initialise(random.to_empty(device="cpu"), config.seed)
        networks["random"] = random
    figures: dict[str, float] = {}
    total = len(networks) * sum(shard_set.samples for shard_set in sets.values())
    with Progress(total, unit="images", label="probe") as progress:
        for name, network in networks.items():
            bank, query = (
                _features(network, sets[split], view, config, progress) for split in (config.bank, config.query)
            )
            figures[f"knn_{name}"] = config.knn.build().accuracy(bank, query)
            figures[f"linear_{name}"] = config.linear.build().accuracy(bank, query)
            figures[f"rank_{name}"] = effective_rank(bank.features)
            run.record(network=name, **{key: value for key, value in figures.items() if key.endswith(name)})
    figures = {name: round(value, 4) for name, value in figures.items()}
    write_atomically(run.path / SCORES, json.dumps(figures, indent=1))
    return Result(kind="scores", content=digest(figures), files=(SCORES,), figures=figures)


def _features(
    network: RegNet, shard_set: ShardSet, view: Evaluation.Config, config: Config, progress: Progress
) -> Features:
    with Loader(shard_set, view.build(), batch=config.batch, threads=config.threads, shuffle=False) as loader:
        found = extract(network, loader, progress=progress)
    if loader.ledger.bad:
        print(f"probe: {loader.ledger.bad} samples of {shard_set.split} cannot be decoded and are left out", flush=True)
    return found
