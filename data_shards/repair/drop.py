"""Goes on without samples: their shards without them, and a manifest that accounts for them.

Everything is written into the work folder first; its manifest is written last, and from then on the change is made:
files only have to be moved out, which whoever enters the work folder next after a kill does first of all.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_shards.durable import AppendFile, move_durably, sync_directory, write_durably
from data_shards.errors import ShardError
from data_shards.manifest import FILE, Manifest, Shard
from data_shards.packing.quarantine import FOLDER, LEDGER
from data_shards.packing.wids_index import name_for, wids_index
from data_shards.quarantined import Rejected, line_of
from data_shards.repair.rebuild import Staged

REASON = "lost"


def drop_lost(directory: Path, work: Path, manifest: Manifest, replaced: list[Staged], changed: list[str]) -> Manifest:
    """Put the staged shards in place of the damaged ones; what they lost moves from accepted to quarantined.

    `changed` names the shards that lost nothing and yet have other bytes now. Raises `ShardError` where nothing would
    be left.
    """
    gone = [
        Rejected(number=lost.number, source=lost.source or lost.key or "", reason=REASON, detail=lost.why)
        for staged in replaced
        for lost in staged.lost
    ]
    told = {"done": "repair --drop"} | ({"changed": changed} if changed else {})
    shards = {staged.shard.name: staged.shard for staged in replaced}
    return go_on_without(directory, work, manifest, gone, shards, told)


def go_on_without(
    directory: Path,
    work: Path,
    manifest: Manifest,
    gone: Sequence[Rejected],
    replaced: Mapping[str, Shard],
    told: Mapping[str, Any],
    traits: Mapping[str, int] | None = None,
) -> Manifest:
    """Put the shards of the work folder in the place of those they are named by; `gone` is what they no longer hold.

    A shard of which nothing is left goes; the others keep their names. `told` is for the lineage, `traits` counts those
    of the images that are gone. Raises `ShardError` where nothing would be left.
    """
    shards = _numbered([replaced.get(shard.name, shard) for shard in manifest.shards])
    if not shards:
        raise ShardError(str(directory), "nothing would be left of it", "pack the shards again")
    totals = dict(manifest.totals)
    totals["accepted"] -= len(gone)
    totals["quarantined"] += len(gone)
    reasons = Counter(manifest.reasons) + Counter(entry.reason for entry in gone)
    kept = Counter(manifest.traits) - Counter(traits or {})
    told = dict(told)
    now = replace(
        manifest,
        shards=shards,
        totals=totals,
        reasons=dict(sorted(reasons.items())),
        traits={name: kept[name] for name in manifest.traits if kept[name]},
        lineage=[
            *manifest.lineage,
            {"root": manifest.root, "done": told.pop("done"), "lost": len(gone), "shards": list(replaced), **told},
        ],
    )
    if gone:
        _stage_ledger(directory, work, gone)
    for split in now.splits:
        write_durably(work / name_for(split), wids_index(split, now.of(split)).encode())
    now.save(work)
    publish(directory, work)
    return now


def publish(directory: Path, work: Path) -> None:
    """Move out of the work folder what a manifest in it says is done; may be begun again after a kill.

    The directory has no manifest yet where a set is made from another one.
    """
    after = Manifest.load(work)
    before = Manifest.load(directory) if (directory / FILE).exists() else after
    kept = _names(after)
    if (work / FOLDER).is_dir():
        (directory / FOLDER).mkdir(exist_ok=True)
        for path in sorted((work / FOLDER).iterdir(), key=lambda path: (path.name == LEDGER, path.name)):
            move_durably(path, directory / FOLDER / path.name)
    for path in sorted(work.iterdir()):
        if path.name in kept:
            move_durably(path, directory / path.name)
    for name in _names(before):
        if name not in kept:
            (directory / name).unlink(missing_ok=True)
    sync_directory(directory)
    move_durably(work / FILE, directory / FILE)


def _names(manifest: Manifest) -> list[str]:
    """The files of a set that have to do with its shards."""
    shards = [name for shard in manifest.shards for name in (shard.name, shard.index_name)]
    return [*shards, *(name_for(split) for split in manifest.splits)]


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


def _stage_ledger(directory: Path, work: Path, gone: Sequence[Rejected]) -> None:
    """The ledger with these at its end."""
    before, staged = directory / FOLDER / LEDGER, work / FOLDER / LEDGER
    staged.parent.mkdir(exist_ok=True)
    if before.exists():
        shutil.copyfile(before, staged)
    file = AppendFile(staged, before.stat().st_size if before.exists() else 0)
    try:
        for entry in gone:
            file.append(line_of(entry))
        file.sync()
    finally:
        file.close()
