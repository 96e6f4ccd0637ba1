"""Shards with labels and the crops that are learnt from, for the stages that need them; and files of labels, which a
recipe names by their path.

A run remembers a file's hash, and is refused as finished where the file has become another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.reading.cache import CacheSettings
from data_shards.stream import ShardSet
from pipeline import distributed
from pipeline.artifacts import Artifact
from pipeline.errors import ArtifactError, RunError
from pipeline.runs import Run
from pipeline.training.settings import TrainerConfig
from pipeline.views import Labelled


def labelled(where: str, split: str, stage: str, cache: CacheSettings | None = None) -> ShardSet:
    """A split of a shard set. Raises `ArtifactError` if the set knows no classes."""
    shard_set = ShardSet(where, split, cache=cache)
    if not shard_set.classes:
        raise ArtifactError(
            where, "has no labels", f"{stage} needs a class per sample; shard a folder with one sub-folder per class"
        )
    return shard_set


def crops_of(
    train: ShardSet,
    chosen: NDArray[np.int64],
    views: Labelled.Config,
    trainer: TrainerConfig,
    run: Run,
    *,
    seed: int,
    max_bad: float,
) -> Loader:
    """Random crops of the chosen samples: this process's share of every batch."""
    return Loader(
        train,
        views.build(),
        batch=trainer.batch,
        rank=distributed.rank(),
        world=distributed.world_size(),
        seed=seed,
        threads=trainer.threads,
        subset=chosen,
        stall_seconds=trainer.stall_seconds,
        on_stall=trainer.on_stall,
        ledger=Ledger.of_run(run.path, distributed.rank(), max_bad),
    )


def say(run: Run, stage: str, doubts: Iterable[str]) -> None:
    """Print what is doubtful about a run's classes, once for all its processes."""
    if run.writes:
        for doubt in doubts:
            print(f"{stage}: {doubt}", flush=True)


def hash_of(path: str, cure: str) -> str:
    """SHA-256 of a file. Raises `ArtifactError` with a `cure` where it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ArtifactError(path, f"cannot be read ({error.strerror})", cure) from None


def require_same(path: str, cure: str, artifact: Artifact, key: str) -> None:
    """Raise `RunError` where a file has another hash than the finished run remembers as its fact `key`."""
    if artifact.facts.get(key) != hash_of(path, cure):
        raise RunError(path, f"has changed since {artifact.path} was made", "choose another out=DIR for it")
