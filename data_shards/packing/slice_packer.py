"""Packs one slice of a packing: its images into shards, quarantine and ledgers, in the folder of the slice.

    entries ─▶ examine ─▶ rejected? quarantine ─▶ seen before? ledger ─▶ append to a shard, note a record

- Everything after the examination happens in the order of the listing, so the bytes do not depend on the threads.
- Now and then, and with each finished shard, the journal notes how far it came; after a kill the next one to take the
  slice goes on from there and ends with the same bytes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from data_shards.durable import AppendFile
from data_shards.errors import SampleRateError
from data_shards.images import TRAITS
from data_shards.packing.examine import Examined, examine
from data_shards.packing.folder import Packing, SliceResult
from data_shards.packing.journal import Journal, State
from data_shards.packing.quarantine import LEDGER, Quarantine
from data_shards.packing.records import Records
from data_shards.sample import Sample, key_for
from data_shards.shard_writer import ShardWriter

DUPLICATES = "duplicates.jsonl"
COUNTS = ("listed", "accepted", "quarantined", "exact", "excluded", "bytes")
"""What is counted in a slice; `exact` and `excluded` are kinds of duplicates, `bytes` were read."""

_BITS = {trait: 1 << bit for bit, trait in enumerate(TRAITS)}
_COMMIT_SECONDS = 5.0  # work that a kill may cost
_ENOUGH = 100  # images before the share of bad ones means anything

Tick = Callable[[dict[str, int]], None]
"""Told the counts of the slice after every image; may raise to stop."""


def pack_slice(packing: Packing, piece: int, work: Path, threads: int, tick: Tick) -> None:
    """Pack a slice in the folder `work`, or go on there, and note that it is done.

    Raises `SampleRateError` where too many images are bad.
    """
    with ExitStack() as files:
        _SlicePacker(packing, piece, work, files).run(threads, tick)


class _SlicePacker:
    """The loop over a slice, and its files, which `files` closes."""

    def __init__(self, packing: Packing, piece: int, work: Path, files: ExitStack) -> None:
        self.packing, self.piece, self.work, self.files = packing, piece, work, files
        self.settings = packing.settings
        self.journal = Journal(work)
        files.callback(self.journal.close)
        state = self.journal.state
        self.counts = dict.fromkeys(COUNTS, 0) | state.counts
        self.places = {name: place for place, name in enumerate(state.opened)}
        self.shards = list(state.shards)
        self.classes = {name: number for number, name in enumerate(packing.listing.classes)}
        self.quarantine = Quarantine(work, piece, state.lengths, state.reasons)
        files.callback(self.quarantine.close)
        self.records = Records(work, state.lengths)
        files.callback(self.records.close)
        self.repeats = AppendFile(work / DUPLICATES, state.lengths.get(DUPLICATES, 0))
        files.callback(self.repeats.close)
        self.writers: dict[str, ShardWriter] = {}
        for name in state.opened:
            self.writer(name.rpartition("-")[0])

    def writer(self, split: str) -> ShardWriter:
        """The writer of a split, resumed where the journal knows it."""
        if split not in self.writers:
            settings, state = self.settings, self.journal.state
            writer = ShardWriter(split, self.work, settings.samples_per_shard, settings.bytes_per_shard)
            self.files.callback(writer.close)
            writer.resume(sum(shard.split == split for shard in state.shards), state.lengths)
            self.writers[split] = writer
        return self.writers[split]

    def run(self, threads: int, tick: Tick) -> None:
        """Deal with every entry that is left, then finish."""
        committed = time.monotonic()
        entries = self.packing.listing.read(self.piece, self.counts["listed"])
        self.check_rate()
        with closing(examine(self.packing.reader, entries, self.settings, threads)) as examined:
            for image in examined:
                full = self.place(image)
                tick(self.counts)
                if full or time.monotonic() - committed > _COMMIT_SECONDS:
                    self.commit()
                    committed = time.monotonic()
        self.finish()

    def place(self, image: Examined) -> bool:
        """Put one examined image where it belongs. True where that finished a shard."""
        self.counts["listed"] += 1
        self.counts["bytes"] += image.size
        if image.reason is not None:
            self.counts["quarantined"] += 1
            self.quarantine.add(image)
            self.check_rate()
            return False
        if self.is_repeat(image):
            return False
        self.counts["accepted"] += 1
        sample, writer = self.sample(image), self.writer(image.entry.split)
        shard = writer.append(sample)
        place = self.places.setdefault(writer.name, len(self.places))
        traits = sum(_BITS[trait] for trait in image.traits)
        self.records.add(image.digest, image.perceptual, image.number, place, traits)
        if shard is None:
            return False
        self.shards.append(shard)
        self.packing.target.stage(self.piece, self.work, shard.name)
        return True

    def is_repeat(self, image: Examined) -> bool:
        """Whether an image is to be dropped as a duplicate of one in this slice or of an excluded one."""
        if (excluded := self.packing.excluded.find(image.digest)) is not None:
            return self.drop(image, "excluded", excluded)
        if self.settings.duplicates != "keep" and (first := self.records.find(image.digest)) is not None:
            return self.drop(image, "exact", first)
        return False

    def drop(self, image: Examined, kind: str, of: int | str) -> bool:
        """Note a duplicate in the ledger."""
        self.counts[kind] += 1
        self.repeats.append(duplicate_line(image.number, image.entry.name, kind, of))
        return True

    def sample(self, image: Examined) -> Sample:
        """The sample that an accepted image becomes."""
        return sample_of(image, self.classes)

    def commit(self) -> None:
        """Make this the state that a killed run goes back to."""
        self.repeats.sync()
        lengths = {**self.quarantine.sync(), **self.records.sync(), DUPLICATES: self.repeats.length}
        for writer in self.writers.values():
            lengths |= writer.sync()
        settled = self.journal.state.shards
        reasons = dict(self.quarantine.reasons)
        self.journal.commit(State(dict(self.counts), reasons, lengths, list(self.places), list(self.shards)))
        for shard in self.shards[len(settled) :]:
            self.packing.target.settle(self.work, shard.name)

    def finish(self) -> None:
        """Finish the open shards and note the result."""
        self.commit()
        for writer in self.writers.values():
            shard = writer.finish()
            if shard is not None:
                self.shards.append(shard)
                self.packing.target.stage(self.piece, self.work, shard.name)
        self.quarantine.finish()
        self.records.finish()
        counts = self.counts
        assert counts["listed"] == counts["accepted"] + counts["quarantined"] + counts["exact"] + counts["excluded"]
        shards = sorted(self.shards, key=lambda shard: self.places[shard.name])
        result = SliceResult(self.work.name, counts, dict(self.quarantine.reasons), shards)
        self.packing.finish_slice(self.piece, result)
        for shard in shards:
            self.packing.target.settle(self.work, shard.name)

    def check_rate(self) -> None:
        """Stop where too many images are bad."""
        bad, listed = self.counts["quarantined"], self.counts["listed"]
        if listed >= _ENOUGH and bad > self.settings.max_bad * listed:
            self.commit()
            raise SampleRateError(
                self.packing.reader.title,
                f"{bad} of the first {listed} images{self.of_slice()} are unusable: {why(self.quarantine.reasons)}",
                f"at most {self.settings.max_bad:.0%} may be; {self.work / LEDGER} names each; "
                "with a higher max_bad the same command goes on",
            )

    def of_slice(self) -> str:
        """Which slice, where there are several."""
        return f" of slice {self.piece}" if self.packing.listing.slices > 1 else ""


def sample_of(image: Examined, classes: dict[str, int]) -> Sample:
    """The sample that an accepted image becomes; `classes` gives the number of each label."""
    assert image.info is not None
    assert image.image is not None
    entry, info = image.entry, image.info
    height, width = info.upright
    metadata: dict[str, Any] = dict(entry.metadata or {})
    metadata |= {"source": entry.name, "sha256": image.stored.hex(), "format": info.format}
    metadata |= {"width": width, "height": height, "split": entry.split}
    if image.stored != image.digest:
        metadata["original_sha256"] = image.digest.hex()
    if entry.label is not None:
        metadata["label"] = entry.label
    label = None if entry.label is None else classes[entry.label]
    return Sample(
        key=key_for(image.number, entry.name),
        image=image.image,
        label=label,
        split=entry.split,
        metadata=metadata,
        digest=image.stored,
    )


def duplicate_line(number: int, source: str, kind: str, of: int | str) -> bytes:
    """A line of the ledger of duplicates: what was dropped, and the number or name of what it repeats."""
    return json.dumps({"number": number, "source": source, "kind": kind, "of": of}).encode("ascii") + b"\n"


def why(reasons: Counter[str]) -> str:
    """The reasons of rejected images, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
