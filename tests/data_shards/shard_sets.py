"""Shard sets with all that a packing leaves: quarantine tars by slice, a ledger of duplicates, a reader's config."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_shards.durable import write_durably
from data_shards.manifest import Manifest
from tests.data_shards.pictures import Listed, pack_into


def pack_whole(out: Path, reader: Listed, **settings: Any) -> Manifest:
    """Pack `reader`, of which every image that is neither accepted nor quarantined is a duplicate."""
    manifest = pack_into(out, reader, **settings)
    ledger = out / "quarantine/ledger.jsonl"
    rejected: set[int] = set()
    if ledger.exists():
        (out / "quarantine/images.tar").rename(out / "quarantine/images-000000.tar")
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        for line in lines:
            line["tar"] = "images-000000.tar" if line["member"] else None
            rejected.add(line["number"])
        ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    first: dict[str, int] = {}
    lines = []
    for number, (name, _, _, image) in enumerate(reader.images):
        digest = hashlib.sha256(image).hexdigest()
        kept = number if number in rejected else first.setdefault(digest, number)
        if kept != number:
            lines.append({"number": number, "source": name, "kind": "exact", "of": kept})
    duplicates = {"exact": len(lines)} if lines else {}
    if lines:
        write_durably(out / "duplicates.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    assert len(lines) == manifest.totals["duplicates"]
    source = {**manifest.source, "reader": {"name": "listed"}}
    manifest = replace(manifest, duplicates=duplicates, source=source)
    manifest.save(out)
    return manifest
