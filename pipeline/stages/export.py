"""export: a checkpoint as one safetensors file, reloaded and compared on real images before it is called done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.artifacts import Artifact
from pipeline.checkpoints.store import read_tensors
from pipeline.checkpoints.tensors import root_hash
from pipeline.errors import ArtifactError
from pipeline.models.heads import Classifier
from pipeline.released import backbones, safetensors
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result
from pipeline.views import Evaluation, Views

FILE = "model.safetensors"
CLASSIFIER = "classifier."


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `export`."""

    out: str = field(default="runs/export", metadata={"identity": False})
    """Run directory; the file is `model.safetensors` in it."""
    shards: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory of `shard`: its images check the file."""
    checkpoint: str = field(default="runs/finetune", metadata={"identity": False})
    """Run directory of `finetune` or `pretrain`."""
    view: Evaluation.Config | None = None
    """How pictures are to be shown to the network; travels with the weights. Null for what the checkpoint asks for."""
    images: int = 64
    """Real images on which the file's network must agree with the checkpoint's."""
    tolerance: float = 1e-5
    """Largest absolute difference allowed in any output."""


def inputs(config: Config) -> Mapping[str, Input]:
    """A checkpoint, fine-tuned if there is one, and images to check it on."""
    return {
        "shards": Input(config.shards, "shards"),
        "checkpoint": Input(config.checkpoint, "checkpoint", ("finetune", "fetch", "pretrain")),
    }


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Write, reload, compare."""
    checkpoint = inputs["checkpoint"]
    network = _network(checkpoint)
    view = config.view or backbones.view(checkpoint)
    path = run.path / FILE
    safetensors.save(network, path, _description(view, checkpoint))
    difference = safetensors.largest_difference(
        network, safetensors.load(path), _images(config, view, network, inputs["shards"])
    )
    if not difference <= config.tolerance:
        path.unlink()
        raise ArtifactError(
            str(path), f"differs from its checkpoint by {difference:.2e}", f"at most {config.tolerance:.0e} is allowed"
        )
    return Result(
        kind="exported",
        content=root_hash(network.state_dict()),
        files=(FILE,),
        figures={"largest_difference": difference, "parameters": float(sum(p.numel() for p in network.parameters()))},
        facts={"weights": FILE},
    )


def _network(checkpoint: Artifact) -> safetensors.Network:
    backbone = backbones.load(checkpoint)
    classes = checkpoint.facts.get("classes") or []
    if not classes:
        return safetensors.Network(backbone)
    classifier = Classifier(backbone.width, len(classes))
    classifier.load_state_dict(read_tensors(checkpoint.path / checkpoint.facts["checkpoint"], CLASSIFIER))
    return safetensors.Network(backbone, classifier)


def _description(view: Evaluation.Config, checkpoint: Artifact) -> dict[str, Any]:
    return {
        "model": checkpoint.facts["model"],
        "classes": checkpoint.facts.get("classes") or [],
        "preprocessing": {
            "mean": checkpoint.facts["model"]["mean"],
            "std": checkpoint.facts["model"]["std"],
            "size": view.size,
            "resize": view.resize,
            "interpolation": "bilinear",
        },
        "lineage": {"stage": checkpoint.stage, "content": checkpoint.content, "inputs": checkpoint.inputs},
        "figures": dict(checkpoint.figures),
    }


def _images(config: Config, view: Evaluation.Config, network: safetensors.Network, shards: Artifact) -> torch.Tensor:
    shard_set = ShardSet(config.shards, next(iter(shards.facts["splits"])))
    count = min(config.images, shard_set.samples)
    with Loader(shard_set, view.build(), batch=count, shuffle=False, batches=1) as loader:
        return network.backbone.prepare(Views.of(next(iter(loader))).crops[0])
