"""The end of a packing: its slices become a shard set.

- Images that repeat those of other slices are dropped, and the shards that hold some are written anew without them.
- Shards get their final names and numbers, in the order of the slices.
- Quarantine and ledgers of all slices are brought together, the accounts are checked, the manifest is written.

Every step may be done again: what a shard will be is noted before it is given its name. So a kill loses nothing, and
the next process to call this goes on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data_shards.durable import write_durably
from data_shards.errors import OutputError, SourceError
from data_shards.images import TRAITS
from data_shards.index import samples_in
from data_shards.manifest import FILE, Manifest, Shard
from data_shards.packing.drops import KINDS, Drops
from data_shards.packing.examine import cores
from data_shards.packing.folder import Packing
from data_shards.packing.lease import Lease
from data_shards.packing.quarantine import FOLDER, IMAGES, LEDGER, tar_name
from data_shards.packing.records import RECORDS, read_records
from data_shards.packing.slice_packer import DUPLICATES, duplicate_line, why
from data_shards.packing.wids_index import name_for, wids_index
from data_shards.sample import number_of
from data_shards.shard_writer import OpenShard


def finish(out: Path) -> Manifest:
    """Make a shard set of the slices of the packing in `out`. Raises `OutputError` where some are not packed."""
    if (out / FILE).exists():
        return Manifest.load(out)
    packing = Packing.load(out)
    left = [piece for piece in range(packing.listing.slices) if not packing.is_done(piece)]
    if left:
        raise OutputError(
            str(out), f"{len(left)} of {packing.listing.slices} slices are not packed", "run the `shard` command again"
        )
    manifest = finish_packing(packing)
    if manifest is None:
        raise OutputError(str(out), f"{packing.busy()} is finishing it", "wait for it")
    return manifest


def finish_packing(packing: Packing) -> Manifest | None:
    """Make a shard set of packed slices, and give its manifest; None where another process is at it."""
    with Lease.take(packing.root / "finish") as lease:
        if lease is None:
            return None
        manifest = _Finish(packing, lease.work).run()
    packing.remove()
    return manifest


@dataclass(frozen=True)
class _Plan:
    """What becomes of a staged shard. `dropped` are the numbers of samples to leave out."""

    piece: int
    staged: Shard
    final: Shard
    dropped: frozenset[int]


class _Finish:
    def __init__(self, packing: Packing, work: Path) -> None:
        self.packing, self.work = packing, work
        self.pieces = range(packing.listing.slices)
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        for piece in self.pieces:
            self.counts.update(packing.result(piece).counts)
            self.reasons.update(packing.result(piece).reasons)
        self.traits: Counter[str] = Counter()

    def run(self) -> Manifest:
        packing, counts = self.packing, self.counts
        self.drops = Drops(packing, self.work / "drops")
        plans = list(self.plans())
        if not plans:
            packing.remove()
            raise SourceError(
                packing.reader.title,
                f"none of its {counts['listed']} images can be used: {why(self.reasons) or 'all are excluded'}",
                "give a source of images that can be decoded",
            )
        with ThreadPoolExecutor(cores(), thread_name_prefix="finish") as pool:
            shards = list(pool.map(self.place, plans))
        self.place_ledgers()
        counts["duplicates"] = sum(counts[kind] for kind in KINDS)
        totals = {name: counts[name] for name in ("listed", "accepted", "quarantined", "duplicates")}
        assert totals["listed"] == totals["accepted"] + totals["quarantined"] + totals["duplicates"], totals
        manifest = Manifest(
            shards=tuple(sorted(shards, key=lambda shard: (shard.split != "train", shard.split, shard.name))),
            classes=packing.listing.classes,
            totals=totals,
            source=packing.source,
            settings=packing.identity,
            reasons=dict(sorted(self.reasons.items())),
            duplicates={kind: counts[kind] for kind in KINDS if counts[kind]},
            traits={trait: self.traits[trait] for trait in TRAITS if self.traits[trait]},
            at=packing.target.at,
        )
        for split in manifest.splits:
            listed = self.work / name_for(split)
            write_durably(listed, wids_index(split, manifest.of(split)).encode())
            packing.target.put(listed, listed.name)
        packing.target.save(manifest, packing.out)
        return manifest

    def plans(self) -> Iterator[_Plan]:
        """What becomes of every shard, in order; shards that lose all their samples are left out."""
        numbers: Counter[str] = Counter()
        indices: Counter[str] = Counter()
        for piece in self.pieces:
            records = read_records(self.packing.work(piece) / RECORDS)
            drops = self.drops.of(piece)
            dropped = np.isin(records["number"], drops["number"])
            self.counts["accepted"] -= int(dropped.sum())
            for kind, name in enumerate(KINDS):
                self.counts[name] += int((drops["kind"] == kind).sum())
            for bit, trait in enumerate(TRAITS):
                self.traits[trait] += int(np.count_nonzero(records["traits"][~dropped] >> bit & 1))
            for place, staged in enumerate(self.packing.result(piece).shards):
                gone = frozenset(records["number"][dropped & (records["shard"] == place)].tolist())
                samples = staged.samples - len(gone)
                if samples:
                    name = f"{staged.split}-{numbers[staged.split]:06d}.tar"
                    final = replace(staged, name=name, samples=samples, first_index=indices[staged.split])
                    yield _Plan(piece, staged, final, gone)
                    numbers[staged.split] += 1
                    indices[staged.split] += samples

    def place(self, plan: _Plan) -> Shard:
        """Give a shard its final name, written anew where samples are dropped."""
        target, work, staged, final = self.packing.target, self.packing.work(plan.piece), plan.staged, plan.final
        if not plan.dropped:
            for name, named in ((staged.name, final.name), (staged.index_name, final.index_name)):
                target.place(plan.piece, work, name, named)
            return final
        facts = self.work / f"{final.name}.json"
        files = [final.name, final.index_name]
        if not facts.exists() or not all((self.work / name).exists() or target.has(name) for name in files):
            made = _without(target.fetch(plan.piece, work, staged.name), self.work / final.name, final, plan.dropped)
            write_durably(facts, json.dumps(asdict(made)).encode())
        for name in files:
            if (self.work / name).exists():
                target.put(self.work / name, name)
        for name in (staged.name, staged.index_name):
            target.discard(plan.piece, work, name)
        return Shard(**json.loads(facts.read_bytes()))

    def place_ledgers(self) -> None:
        """Bring the quarantine and the ledgers of all slices into place."""
        target = self.packing.target
        for piece in self.pieces:
            if self.packing.result(piece).counts["quarantined"]:
                target.place(piece, self.packing.work(piece), IMAGES, f"{FOLDER}/{tar_name(piece)}")
        if self.counts["quarantined"]:
            ledger = self.work / LEDGER
            with open(ledger, "wb") as file:
                for piece in self.pieces:
                    file.write((self.packing.work(piece) / LEDGER).read_bytes())
            target.put(ledger, f"{FOLDER}/{LEDGER}")
        if sum(self.counts[kind] for kind in KINDS):
            repeats = self.work / DUPLICATES
            with open(repeats, "wb") as file:
                for piece in self.pieces:
                    file.writelines(self.repeats(piece))
            target.put(repeats, DUPLICATES)

    def repeats(self, piece: int) -> Iterator[bytes]:
        """The duplicates of a slice, in the order of the listing."""
        lines = [*(self.packing.work(piece) / DUPLICATES).read_bytes().splitlines(keepends=True)]
        drops = self.drops.of(piece)
        if len(drops):
            wanted = dict(zip(drops["number"].tolist(), drops[["of", "kind"]].tolist(), strict=True))
            for number, entry in self.packing.listing.read(piece):
                if number in wanted:
                    of, kind = wanted[number]
                    name = self.packing.excluded.name(of) if KINDS[kind] == "excluded" else of
                    lines.append(duplicate_line(number, entry.name, KINDS[kind], name))
            lines.sort(key=lambda line: int(json.loads(line)["number"]))
        yield from lines


def _without(source: Path, path: Path, final: Shard, dropped: frozenset[int]) -> Shard:
    """Write a shard anew without the samples of some numbers."""
    shard = OpenShard(path, final.split)
    with open(source, "rb") as tar:
        for members in samples_in(source):
            if number_of(members[0].name) not in dropped:
                contents = []
                for member in members:
                    tar.seek(member.offset)
                    contents.append((member.name, tar.read(member.size)))
                shard.append(contents)
    made = shard.finish(final.first_index)
    assert made.samples == final.samples, (made, final)
    return made
