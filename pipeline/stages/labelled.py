"""Shards with labels, for the stages that need them."""

from __future__ import annotations

from data_shards.reading.cache import CacheSettings
from data_shards.stream import ShardSet
from pipeline.errors import ArtifactError


def labelled(where: str, split: str, stage: str, cache: CacheSettings | None = None) -> ShardSet:
    """A split of a shard set. Raises `ArtifactError` if the set knows no classes."""
    shard_set = ShardSet(where, split, cache=cache)
    if not shard_set.classes:
        raise ArtifactError(
            where, "has no labels", f"{stage} needs a class per sample; shard a folder with one sub-folder per class"
        )
    return shard_set
