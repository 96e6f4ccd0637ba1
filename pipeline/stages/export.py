"""export: a checkpoint as files for this pipeline and for other libraries, each opened again and compared on images.

model.safetensors   ours, with all that is needed to use it
README.md           the model card
timm/ onnx/ …       one folder a library
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from data_shards.loader import Loader
from data_shards.progress import Progress
from data_shards.stream import ShardSet
from pipeline import results
from pipeline.artifacts import Artifact, write_atomically
from pipeline.checkpoints.tensors import root_hash
from pipeline.errors import ArtifactError
from pipeline.models.regnet import CUSTOM
from pipeline.released import backbones, card, lineage, safetensors
from pipeline.released.card import Card, Measured, Written
from pipeline.released.lineage import Ancestor
from pipeline.released.writers import WRITERS, Release
from pipeline.released.writers.choice import choose
from pipeline.released.writers.compared import check as hold
from pipeline.released.writers.compared import difference, write_compared
from pipeline.released.writers.writer import missing
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result
from pipeline.views import Evaluation, Views

FILE = "model.safetensors"
OURS = "this pipeline"

Layout = Literal["timm", "torchvision", "transformers", "vissl", "onnx", "torch_export"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `export`."""

    out: str = field(default="runs/export", metadata={"identity": False})
    """Run directory; the file is `model.safetensors` in it, the card `README.md`."""
    shards: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory of `shard`: its images check the files."""
    checkpoint: str = field(default="runs/finetune", metadata={"identity": False})
    """Run directory of `finetune`, `fetch` or `pretrain`."""
    layouts: tuple[Layout, ...] | None = None
    """Libraries to write for, beside ours: a list; null for all that have such a network and are installed."""
    title: str = ""
    """Name of the network, for the card; empty for that of its size."""
    licence: str = ""
    """Licence of the weights, for the card, such as cc-by-nc-4.0; empty for that of the weights they were made from."""
    measured: tuple[str, ...] = field(default=(), metadata={"identity": False})
    """Run directories of evaluations of this checkpoint, or of one behind it, whose figures the card gives."""
    view: Evaluation.Config | None = None
    """How pictures are to be shown to the network; travels with the weights. Null for what the checkpoint asks for."""
    images: int = 16
    """Real images on which each file's network must agree with the checkpoint's."""
    tolerance: float = 1e-5
    """Largest difference allowed in any output, as a share of the largest output where that is above 1; in ONNX, which
    computes with other kernels, ten times as much."""

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"images is {self.images}; files are compared on at least one")


def inputs(config: Config) -> Mapping[str, Input]:
    """A checkpoint, fine-tuned if there is one, images to check it on, and evaluations for the card."""
    evaluations = {
        # No stage is named "": a chain is not to choose evaluations by itself.
        f"measured {n}": Input(path, "scores", ("",))
        for n, path in enumerate(config.measured, 1)
    }
    return {
        "shards": Input(config.shards, "shards"),
        "checkpoint": Input(config.checkpoint, "checkpoint", ("finetune", "fetch", "pretrain")),
        **evaluations,
    }


def check(config: Config) -> None:
    """Whether every library asked for has such a network, before anything is written."""
    checkpoint = Artifact.load(config.checkpoint, "checkpoint", wanted_by="export", key="checkpoint")
    choose(backbones.architecture(checkpoint), config.layouts, config.checkpoint)


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Write, open again, compare; then the card."""
    checkpoint = inputs["checkpoint"]
    release = _release(config, checkpoint)
    chosen, left_out = choose(release.model, config.layouts, config.checkpoint)
    ancestors = lineage.ancestry(checkpoint)
    images = _images(config, release, inputs["shards"])
    with Progress(len(chosen) + 1, unit="libraries", label="export") as progress, torch.no_grad():
        safetensors.save(release.network, run.path / FILE, _description(config, release, checkpoint, ancestors))
        expected = release.network(images)
        found = difference(safetensors.load(run.path / FILE)(images), expected)
        hold(found, config.tolerance, str(run.path / FILE))
        written = [Written(title=OURS, where=FILE, usage=safetensors.USAGE, difference=found)]
        progress.update(1)
        for name in chosen:
            writer = WRITERS[name]
            absent = missing(writer.opens_with)
            compared = write_compared(writer, release, run.path / name, images, expected, config.tolerance)
            written.append(
                Written(
                    title=writer.title,
                    where=f"{name}/",
                    usage=writer.usage(release, name),
                    difference=compared,
                    remark=f"{' and '.join(absent)} was not installed" if absent else writer.remark,
                )
            )
            progress.update(1)
    told = Card(
        title=config.title or _name(release),
        release=release,
        licence=config.licence,
        written=written,
        left_out={WRITERS[name].title: why for name, why in left_out.items()},
        images=len(images),
        ancestors=ancestors,
        measured=_measured(config, inputs, ancestors),
    )
    write_atomically(run.path / card.FILE, str(told))
    table = _table(told)
    results.save(run.path, [table])
    print(table)
    files = [path for name in chosen for path in (run.path / name).rglob("*") if path.is_file()]
    return Result(
        kind="exported",
        content=root_hash(release.network.state_dict()),
        files=(FILE, card.FILE, results.FILE, *(str(path.relative_to(run.path)) for path in files)),
        figures={
            "largest_difference": max(w.difference for w in written if w.difference is not None),
            "parameters": float(sum(p.numel() for p in release.network.parameters())),
        },
        facts={"weights": FILE, "layouts": chosen},
    )


def _release(config: Config, checkpoint: Artifact) -> Release:
    backbone = backbones.load(checkpoint)
    classes = tuple(checkpoint.facts.get("classes") or ())
    return Release(
        network=safetensors.Network(backbone, backbones.classifier(checkpoint)).eval(),
        model=backbones.architecture(checkpoint),
        view=config.view or backbones.view(checkpoint),
        classes=classes,
    )


def _description(config: Config, release: Release, checkpoint: Artifact, ancestors: list[Ancestor]) -> dict[str, Any]:
    return {
        "model": checkpoint.facts["model"],
        "classes": list(release.classes),
        "preprocessing": {
            "mean": release.model.mean,
            "std": release.model.std,
            "size": release.view.size,
            "resize": release.view.resize,
            "interpolation": release.view.interpolation,
            "keep_ratio": release.view.keep_ratio,
        },
        "licence": config.licence or " and ".join(lineage.licences(ancestors)),
        "lineage": [ancestor.to_mapping() for ancestor in ancestors],
        "figures": dict(checkpoint.figures),
    }


def _images(config: Config, release: Release, shards: Artifact) -> torch.Tensor:
    shard_set = ShardSet(config.shards, next(iter(shards.facts["splits"])))
    count = min(config.images, shard_set.samples)
    with Loader(shard_set, release.view.build(), batch=count, shuffle=False, batches=1) as loader:
        return release.network.backbone.prepare(Views.of(next(iter(loader))).crops[0])


def _measured(config: Config, inputs: Mapping[str, Artifact], ancestors: list[Ancestor]) -> list[Measured]:
    """The figures of evaluations. Raises `ArtifactError` for one of another network."""
    known = {ancestor.content for ancestor in ancestors if ancestor.kind == "checkpoint"}
    found = []
    for n, where in enumerate(config.measured, 1):
        scores = inputs[f"measured {n}"]
        of = next((behind.content for behind in lineage.ancestry(scores) if behind.content in known), None)
        if of is None:
            raise ArtifactError(
                where,
                "measured another checkpoint",
                f"name evaluations of {config.checkpoint}, or of what it was made from, in measured",
            )
        found.append(Measured(stage=scores.stage, content=of, figures=scores.figures))
    return found


def _name(release: Release) -> str:
    size = release.model.size
    name = "RegNet" if size == CUSTOM else f"RegNet {size}"
    return f"{name}, {len(release.classes)} classes" if release.classes else f"{name}, features"


def _table(told: Card) -> results.Table:
    rows = [(written.title, written.where, written.found) for written in told.written]
    return results.Table(
        title=f"exported, compared with the checkpoint on {told.images} images",
        heads=("library", "where", "largest difference"),
        rows=rows,
        note="; ".join(f"not for {title}: {why}" for title, why in told.left_out.items()),
    )
