"""shard: any pile of images into WebDataset shards with a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from data_shards.manifest import FILE as MANIFEST
from data_shards.pack import check_unchanged, pack
from data_shards.packing.settings import PackSettings
from data_shards.progress import Progress
from data_shards.readers import Reader, Source, source_from
from data_shards.readers.reader import check_holdout
from data_shards.remote import is_url
from pipeline.artifacts import Artifact
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result

CHAIN_DATA = "source"
"""The key that a chain sets to its `data`."""

SHARED = True
"""Several jobs may run this stage in one directory: they share the work."""


@dataclass(frozen=True, kw_only=True)
class Config(PackSettings):
    """Recipe of `shard`."""

    out: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory; the shards lie in it."""
    source: str | Annotated[Source, Field(discriminator="name")]
    """Where the images come from: a folder, a list, an archive, a URL, or one of the readers with its settings."""
    holdout: float = 0.0
    """Share of the images to move to the split "test", where `source` is a word and has no such split."""
    tiles: bool = False
    """Cut tiles from some of the pictures, labelled by picture, where `source` is a folder without classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_holdout(self.holdout)
        if is_url(self.out):
            raise ValueError(f"out is a directory on a disk, not {self.out}; shards go to a URL with to={self.out}")
        if self.to is not None and not is_url(self.to):
            raise ValueError(f"to is a URL, not {self.to!r}; a directory is given as out={self.to}")


def inputs(config: Config) -> Mapping[str, Input]:
    """Images are no artifact."""
    return {}


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Pack, together with other processes where there are some; a killed run goes on where it stopped."""
    with Progress(None, unit="images", label="shard") as progress:
        manifest = pack(_reader(config), run.path, config, progress)
    totals = {name: float(count) for name, count in manifest.totals.items()}
    samples = {split: manifest.samples(split) for split in manifest.splits}
    known = {shard.name: {"bytes": shard.bytes, "hash": shard.hash} for shard in manifest.shards}
    return Result(
        kind="shards",
        content=manifest.root,
        files=(MANIFEST,),
        known_files=known if manifest.at is None else {},
        figures={**totals, **{f"samples_{split}": float(count) for split, count in samples.items()}},
        facts={"splits": samples, "classes": list(manifest.classes)},
    )


def recheck(config: Config, artifact: Artifact) -> None:
    """List the source again: raises `OutputError` where images came or went since it was packed."""
    check_unchanged(_reader(config), artifact.path, config)


def _reader(config: Config) -> Reader:
    if not isinstance(config.source, str):
        return config.source.build()
    return source_from(config.source, holdout=config.holdout, tiles=config.tiles).build()
