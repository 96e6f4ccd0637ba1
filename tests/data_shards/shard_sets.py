"""Shard sets whose manifest says how the source is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from data_shards.manifest import Manifest
from tests.data_shards.pictures import Listed, pack_into


def pack_whole(out: Path, reader: Listed, **settings: Any) -> Manifest:
    """Pack `reader`; the manifest names it as {"name": "listed"}."""
    manifest = pack_into(out, reader, **settings)
    manifest = replace(manifest, source={**manifest.source, "reader": {"name": "listed"}})
    manifest.save(out)
    return manifest
