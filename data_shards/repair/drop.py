"""Goes on without samples that cannot be had: their shards without them, and a manifest that accounts for them.

Everything is written into the work folder first; its manifest is written last, and from then on the change is made:
files only have to be moved out, which a repair that was killed does first of all.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from data_shards.durable import AppendFile, move_durably, sync_directory
from data_shards.errors import ShardError
from data_shards.manifest import FILE, Manifest, Shard
from data_shards.packing.quarantine import FOLDER, LEDGER
from data_shards.quarantined import Rejected, line_of
from data_shards.repair.rebuild import Lost, Staged

REASON = "lost"


def drop_lost(directory: Path, work: Path, manifest: Manifest, replaced: list[Staged], changed: list[str]) -> Manifest:
    """Put the staged shards in place of the damaged ones; what they lost moves from accepted to quarantined.

    A shard of which nothing is left goes; the others keep their names. `changed` names the shards that lost nothing and
    yet have other bytes now. Raises `ShardError` where nothing would be left.
    """
    by_name = {staged.shard.name: staged.shard for staged in replaced}
    shards = _numbered([by_name.get(shard.name, shard) for shard in manifest.shards])
    if not shards:
        raise ShardError(str(directory), "nothing would be left of it", "pack the shards again")
    lost = [entry for staged in replaced for entry in staged.lost]
    entry = {"root": manifest.root, "done": "repair --drop", "lost": len(lost), "shards": list(by_name)}
    totals, reasons = dict(manifest.totals), dict(manifest.reasons)
    totals["accepted"] -= len(lost)
    totals["quarantined"] += len(lost)
    if lost:
        reasons[REASON] = reasons.get(REASON, 0) + len(lost)
        _stage_ledger(directory, work, lost)
    now = replace(
        manifest,
        shards=shards,
        totals=totals,
        reasons=dict(sorted(reasons.items())),
        lineage=[*manifest.lineage, entry | ({"changed": changed} if changed else {})],
    )
    now.save(work)
    publish(directory, work)
    return now


def publish(directory: Path, work: Path) -> None:
    """Move out of the work folder what a manifest in it says is done; may be begun again after a kill."""
    before, after = Manifest.load(directory), Manifest.load(work)
    kept = {name for shard in after.shards for name in (shard.name, shard.index_name)}
    for path in sorted(work.iterdir()):
        if path.name == LEDGER:
            (directory / FOLDER).mkdir(exist_ok=True)
            move_durably(path, directory / FOLDER / LEDGER)
        elif path.name in kept:
            move_durably(path, directory / path.name)
    for name in (name for shard in before.shards for name in (shard.name, shard.index_name)):
        if name not in kept:
            (directory / name).unlink(missing_ok=True)
    sync_directory(directory)
    move_durably(work / FILE, directory / FILE)


def _numbered(shards: list[Shard]) -> tuple[Shard, ...]:
    """The shards that have samples, each with the first index that follows from those before it."""
    ends: dict[str, int] = {}
    numbered = []
    for shard in shards:
        if shard.samples:
            first = ends.get(shard.split, 0)
            numbered.append(replace(shard, first_index=first))
            ends[shard.split] = first + shard.samples
    return tuple(numbered)


def _stage_ledger(directory: Path, work: Path, lost: list[Lost]) -> None:
    """The ledger with the lost samples at its end."""
    before = directory / FOLDER / LEDGER
    if before.exists():
        shutil.copyfile(before, work / LEDGER)
    size = before.stat().st_size if before.exists() else 0
    file = AppendFile(work / LEDGER, size)
    try:
        for sample in lost:
            source = sample.source or sample.key or ""
            file.append(line_of(Rejected(number=sample.number, source=source, reason=REASON, detail=sample.why)))
        file.sync()
    finally:
        file.close()
