"""Packing: a source of images becomes a shard set.

    list ─▶ examine (threads: read, hash, check) ─▶ rejected? quarantine ─▶ seen before? count ─▶ append to a shard

- Everything after the examination happens in the order of the listing, so the bytes do not depend on the workers.
- Now and then, and with each finished shard, the journal notes how far it came; after a kill the same command goes on
  from there and ends with the same bytes.
- The manifest is written last. Where a matching one is there already, nothing is done.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from data_shards.duplicates import FILE as HASHES
from data_shards.duplicates import Duplicates
from data_shards.errors import OutputError, SampleRateError, SourceError
from data_shards.examine import Examined, cores, examine
from data_shards.images import MAX_PIXELS, Probe
from data_shards.journal import FOLDER, Journal, State, differences
from data_shards.manifest import FILE, Manifest
from data_shards.progress import Progress
from data_shards.quarantine import LEDGER, Quarantine
from data_shards.readers.reader import Reader, Survey
from data_shards.sample import Sample, key_for
from data_shards.shard_writer import ShardWriter

_COMMIT_SECONDS = 5.0  # work that a kill may cost
_ENOUGH = 100  # images before the share of bad ones means anything


class Pack:
    """One packing, from `reader` into the directory `out`."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How images are checked and packed."""

        samples_per_shard: int = 10_000
        """Most samples in a shard."""
        bytes_per_shard: int = 1_000_000_000
        """Largest shard in bytes; one sample that is larger has a shard of its own."""
        check: Probe = "strict"
        """How closely each image is looked at: header, strict (JPEG decoded at 1/8) or full."""
        duplicates: Literal["exact", "keep"] = "exact"
        """Drop images whose bytes were packed before (exact), or keep them."""
        max_pixels: int = MAX_PIXELS
        """Larger images are quarantined, in pixels per image."""
        max_bad: float = 0.5
        """Stop when more than this share of the images is unusable."""
        workers: int = 0
        """Threads that read and check images; 0 for one per core."""

        def __post_init__(self) -> None:
            if self.samples_per_shard < 1 or self.bytes_per_shard < 1:
                raise ValueError("samples_per_shard and bytes_per_shard must be at least 1")
            if not 0 < self.max_bad <= 1:
                raise ValueError(f"max_bad is a share above 0 and up to 1, not {self.max_bad}")

        def settings(self) -> dict[str, Any]:
            """What the bytes of the shards depend on."""
            return {name: value for name, value in asdict(self).items() if name not in ("workers", "max_bad")}

    def __init__(self, reader: Reader, out: Path, config: Config, progress: Progress) -> None:
        self.reader, self.out, self.config, self.progress = reader, Path(out), config, progress
        self.workers = config.workers or cores()

    def run(self) -> Manifest:
        """Pack, or go on packing, or find that it is done."""
        survey = self.reader.survey()
        self.progress.total = survey.entries
        source = {**self.reader.describe(), "entries": survey.entries, "listing": survey.listing}
        identity: dict[str, Any] = json.loads(json.dumps({"source": source, "pack": self.config.settings()}))
        with _output_errors(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            finished = self._finished(identity)
            if finished is not None:
                self.progress.update(survey.entries)
                return finished
            with Journal.open(self.out, identity) as journal, ExitStack() as files:
                return _Packing(self, survey, identity, journal, files).run()

    def _finished(self, identity: dict[str, Any]) -> Manifest | None:
        """The manifest, where one is there and it is ours."""
        if (self.out / FILE).exists():
            manifest = Manifest.load(self.out)
            changes = differences({"source": manifest.source, "pack": manifest.settings}, identity)
            if changes:
                raise OutputError(
                    str(self.out), f"holds a finished shard set, but {changes[0]}", "choose another out=, or remove it"
                )
            missing = [shard.name for shard in manifest.shards if not (self.out / shard.name).exists()]
            if missing:
                raise OutputError(
                    str(self.out / missing[0]),
                    "is missing from a finished shard set",
                    "bring it back, or remove the manifest to pack again",
                    f"rm {self.out / FILE}",
                )
            if (self.out / FOLDER).exists():  # killed between the manifest and the end
                with Journal.open(self.out, identity) as journal:
                    journal.remove()
            return manifest
        foreign = next(self.out.glob("*.tar"), None)
        if foreign is not None and not (self.out / FOLDER).exists():
            raise OutputError(str(self.out), f"already holds {foreign.name}", "choose an empty directory")
        return None


class _Packing:
    """The loop of a packing, and its files, which `files` closes."""

    def __init__(
        self, pack: Pack, survey: Survey, identity: dict[str, Any], journal: Journal, files: ExitStack
    ) -> None:
        self.pack, self.survey, self.identity, self.journal, self.files = pack, survey, identity, journal, files
        state = journal.state
        self.totals = {"listed": 0, "accepted": 0, "quarantined": 0, "duplicates": 0} | state.totals
        self.classes = {name: number for number, name in enumerate(survey.classes)}
        self.quarantine = Quarantine(journal.work, pack.out, state.lengths, state.reasons)
        files.callback(self.quarantine.close)
        self.duplicates = Duplicates(journal.work, state.lengths.get(HASHES, 0))
        files.callback(self.duplicates.close)
        self.shards = list(state.shards)
        self.writers: dict[str, ShardWriter] = {}
        for name in dict.fromkeys([*(s.split for s in state.shards), *map(_split_of, state.lengths)]):
            if name:
                self.writer(name)

    def writer(self, split: str) -> ShardWriter:
        """The writer of a split, resumed where the journal knows it."""
        if split not in self.writers:
            config, state = self.pack.config, self.journal.state
            writer = ShardWriter(
                split, self.journal.work, self.pack.out, config.samples_per_shard, config.bytes_per_shard
            )
            self.files.callback(writer.close)
            writer.resume([shard for shard in state.shards if shard.split == split], state.lengths)
            self.writers[split] = writer
        return self.writers[split]

    def run(self) -> Manifest:
        """Deal with every entry that is left, then finish."""
        config, committed = self.pack.config, time.monotonic()
        begun = self.totals["listed"]
        self.pack.progress.start_at(begun)
        self.check_rate()
        examined = examine(self.pack.reader, begun, config.check, config.max_pixels, self.pack.workers)
        with closing(examined):
            for image in examined:
                finished = self.place(image)
                self.pack.progress.update(1, rejected=self.totals["quarantined"])
                if finished or time.monotonic() - committed > _COMMIT_SECONDS:
                    self.commit()
                    committed = time.monotonic()
        return self.finish()

    def place(self, image: Examined) -> bool:
        """Put one examined image where it belongs. True where that finished a shard."""
        self.totals["listed"] += 1
        if image.reason is not None:
            self.totals["quarantined"] += 1
            self.quarantine.add(image)
            self.check_rate()
            return False
        if self.pack.config.duplicates == "exact" and self.duplicates.add(image.hash):
            self.totals["duplicates"] += 1
            return False
        self.totals["accepted"] += 1
        shard = self.writer(image.entry.split).append(self.sample(image))
        if shard is not None:
            self.shards.append(shard)
        return shard is not None

    def sample(self, image: Examined) -> Sample:
        """The sample that an accepted image becomes."""
        assert image.info is not None
        assert image.image is not None
        entry, info = image.entry, image.info
        height, width = info.upright
        metadata: dict[str, Any] = {"source": entry.name, "sha256": image.hash, "format": info.format}
        metadata |= {"width": width, "height": height, "split": entry.split}
        if entry.label is not None:
            metadata["label"] = entry.label
        label = None if entry.label is None else self.classes[entry.label]
        key = key_for(image.number, entry.name)
        return Sample(key=key, image=image.image, label=label, split=entry.split, metadata=metadata)

    def commit(self) -> None:
        """Make this the state that a killed run goes back to."""
        lengths = {**self.quarantine.sync(), **self.duplicates.sync()}
        for writer in self.writers.values():
            lengths |= writer.sync()
        self.journal.commit(State(dict(self.totals), dict(self.quarantine.reasons), lengths, self.shards))

    def finish(self) -> Manifest:
        """Finish the open shards, check the accounts, write the manifest."""
        totals, out = self.totals, self.pack.out
        if totals["accepted"] == 0:
            self.journal.remove()
            raise SourceError(
                self.pack.reader.title,
                f"none of its {totals['listed']} images can be used: {self.why()}",
                "give a source of images that can be decoded",
            )
        self.commit()
        for writer in self.writers.values():
            shard = writer.finish()
            if shard is not None:
                self.shards.append(shard)
        self.quarantine.finish()
        assert totals["listed"] == totals["accepted"] + totals["quarantined"] + totals["duplicates"], totals
        manifest = Manifest(
            shards=tuple(sorted(self.shards, key=lambda shard: (shard.split != "train", shard.split, shard.name))),
            classes=self.survey.classes,
            totals=totals,
            source=self.identity["source"],
            settings=self.identity["pack"],
            reasons=dict(sorted(self.quarantine.reasons.items())),
        )
        manifest.save(out)
        self.journal.remove()
        return manifest

    def check_rate(self) -> None:
        """Stop where too many images are bad."""
        bad, listed = self.totals["quarantined"], self.totals["listed"]
        if listed >= _ENOUGH and bad > self.pack.config.max_bad * listed:
            self.commit()
            raise SampleRateError(
                self.pack.reader.title,
                f"{bad} of the first {listed} images are unusable: {self.why()}",
                f"at most {self.pack.config.max_bad:.0%} may be; {self.journal.work / LEDGER} names each; "
                "with a higher pack.max_bad the same command goes on",
            )

    def why(self) -> str:
        """The reasons of the rejected images, the most frequent first."""
        return ", ".join(f"{count} {reason}" for reason, count in self.quarantine.reasons.most_common())


def pack(reader: Reader, out: Path, config: Pack.Config | None = None, progress: Progress | None = None) -> Manifest:
    """Pack the images of `reader` into a shard set in the directory `out`, and give its manifest.

    The same call after a kill goes on where it was; after its end it does nothing. Raises `SourceError`, `OutputError`
    and `SampleRateError`.
    """
    return Pack(reader, out, config or Pack.Config(), progress or Progress(quiet=True)).run()


def _split_of(name: str) -> str | None:
    """The split of an open shard, None for another open file."""
    return name.rpartition("-")[0] if name.endswith(".tar") and "-" in name else None


@contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    """Turn what the operating system says about the output into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            right = "free some and repeat the command, it goes on where it stopped"
            raise OutputError(str(out), "no space is left on its disk", right) from None
        if isinstance(error, FileNotFoundError) and (out / FOLDER).exists():
            given, right = f"{error.filename} went away while it was packed", "remove the folder and begin anew"
            raise OutputError(str(out), given, right, f"rm -r {out / FOLDER}") from None
        if isinstance(error, NotADirectoryError | FileExistsError):
            raise OutputError(str(out), "is in the way: it is a file", "choose a directory") from None
        raise OutputError(
            str(out), f"cannot be written ({error.strerror})", "choose a directory you may write"
        ) from None
