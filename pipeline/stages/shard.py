"""shard: any pile of images into WebDataset shards with a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from data_shards.manifest import FILE as MANIFEST
from data_shards.pack import Pack, pack
from data_shards.progress import Progress
from data_shards.readers import Source, source_from
from pipeline.artifacts import Artifact
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result

CHAIN_DATA = "source"
"""The key that a chain sets to its `data`."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `shard`."""

    out: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory; the shards lie in it."""
    source: str | Annotated[Source, Field(discriminator="name")]
    """Where the images come from: a folder, a name, or one of the readers with its settings."""
    pack: Pack.Config = field(default_factory=Pack.Config)
    """How they are checked and packed."""


def inputs(config: Config) -> Mapping[str, Input]:
    """Images are no artifact."""
    return {}


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Pack; a killed run goes on at the first unfinished shard."""
    source = source_from(config.source) if isinstance(config.source, str) else config.source
    with Progress(None, unit="images", label="shard") as progress:
        manifest = pack(source.build(), run.path, config.pack, progress)
    totals = {name: float(count) for name, count in manifest.totals.items()}
    samples = {split: manifest.samples(split) for split in manifest.splits}
    return Result(
        kind="shards",
        content=manifest.root,
        files=(MANIFEST, *(shard.name for shard in manifest.shards)),
        figures={**totals, **{f"samples_{split}": float(count) for split, count in samples.items()}},
        facts={"splits": samples, "classes": list(manifest.classes)},
    )
