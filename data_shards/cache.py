"""Shards that lie at a URL, on the disk of this machine."""

from __future__ import annotations

from dataclasses import dataclass

FOLDER = "~/.cache/data_shards"


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """Where shards from a URL are kept, and how they are fetched. Shards in a directory need none of it."""

    folder: str = FOLDER
    """Folder on a disk of this machine; all its processes and runs may share it."""
    bytes: int = 100_000_000_000
    """Most bytes kept there; the shards used least recently go first."""
    downloads: int = 4
    """Shards that one process fetches ahead at the same time."""
    patience: float = 900.0
    """Seconds for which a server that does not answer is asked again, before the run stops."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a process had from its cache since it began; all zeros for shards in a directory."""

    hits: int = 0
    """Shards that were there when they were asked for."""
    misses: int = 0
    """Shards that a reader had to wait for."""
    ahead: int = 0
    """Shards that were fetched before they were asked for."""
    bytes: int = 0
    """Bytes that were fetched."""
    wait: float = 0.0
    """Seconds that readers waited for shards, added up over threads."""
    evicted: int = 0
    """Shards that this process removed to make room."""
