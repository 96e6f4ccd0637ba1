"""The work folder of a packing that is under way, which any number of processes on any number of machines share.

packing.json      the source, its reader, and the settings: a packing is only continued by the same ones
list/             the lease of the process that lists; listing/ the entries, in slices
slices/000017/    the lease of the process that packs slice 17, its work, and done.json when it is packed
finish/           the lease of the process that makes a shard set of the slices
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_shards.durable import sync_directory, write_durably
from data_shards.errors import OutputError
from data_shards.manifest import FILE as MANIFEST
from data_shards.manifest import Shard
from data_shards.packing.excluded import Excluded
from data_shards.packing.lease import Lease, holder_of
from data_shards.packing.listing import Listing
from data_shards.packing.settings import PackSettings
from data_shards.packing.target import target_for
from data_shards.readers import reader_from
from data_shards.readers.reader import Reader

FOLDER = ".packing"
_FILE, _DONE = "packing.json", "done.json"
_POLL = 0.3  # seconds between looks at what another process does


@dataclass(frozen=True)
class SliceResult:
    """What became of a slice. Its files are in the folder `work`; `shards` are in the order they were begun."""

    work: str
    counts: dict[str, int]
    reasons: dict[str, int]
    shards: list[Shard] = field(default_factory=list)


class Packing:
    """A packing into `out`: what every process knows of it. `fields` are those of packing.json."""

    def __init__(self, out: Path, reader: Reader, settings: PackSettings, fields: dict[str, Any]) -> None:
        self.out, self.reader, self.settings = out, reader, settings
        self.source: dict[str, Any] = fields["source"]
        self.identity: dict[str, Any] = fields["pack"]
        self.root = out / FOLDER
        self.listing = Listing.load(self.root / "listing")
        self.excluded = Excluded(self.root / "excluded", settings.exclude)
        self.target = target_for(out, settings.to)
        self._done: dict[int, SliceResult] = {}

    @classmethod
    def begin(cls, out: Path, reader: Reader, settings: PackSettings, seen: Callable[[int], None]) -> Packing | None:
        """List the source, or go on with a packing whose source and settings are still the same.

        None where `out` was finished a moment ago. `seen` is told how many images were listed. Raises `OutputError`
        where source or settings are not the same, `SourceError` where the source cannot be listed.
        """
        root, waited = out / FOLDER, False
        root.mkdir(exist_ok=True)
        while True:
            with Lease.take(root / "list") as lease:
                if lease is not None:
                    if (out / MANIFEST).exists():
                        shutil.rmtree(root, ignore_errors=True)
                        return None
                    if not (root / _FILE).exists():
                        _write(out, reader, settings, seen)
                        return cls(out, reader, settings, _read(out))
                    packing = cls(out, reader, settings, _read(out))
                    packing._check(relist=not waited and not packing.busy())
                    return packing
            waited = True
            time.sleep(_POLL)

    @classmethod
    def load(cls, out: Path) -> Packing:
        """The packing that is under way in `out`, with a reader of its own. Raises `OutputError`."""
        try:
            fields = _read(out)
        except FileNotFoundError:
            raise OutputError(
                str(out), "holds no packing that is under way", "give the directory of one that was begun"
            ) from None
        return cls(out, reader_from(fields["source"]["reader"]), PackSettings.of(fields["settings"]), fields)

    def _check(self, relist: bool) -> None:
        before = _read(self.out)
        changes = changes_of(before["source"], before["pack"], self.reader, self.settings)
        if not changes and before["settings"]["to"] != self.settings.to:
            changes = [f"to was {before['settings']['to']!r} and is now {self.settings.to!r}"]
        if not changes and relist and (change := self.listing.change(self.reader)):
            changes = [change]
        if changes:
            raise OutputError(
                str(self.out),
                f"holds an unfinished packing, but {changes[0]}",
                "repeat the command it was begun with, or remove the folder and begin anew",
                f"rm -r {self.root}",
            )

    def folder(self, piece: int) -> Path:
        """The folder of a slice."""
        return self.root / "slices" / f"{piece:06d}"

    def work(self, piece: int) -> Path:
        """The folder with the files of a slice that is packed."""
        return self.folder(piece) / self.result(piece).work

    def is_done(self, piece: int) -> bool:
        """Whether a slice is packed."""
        if piece not in self._done:
            try:
                fields = json.loads((self.folder(piece) / _DONE).read_bytes())
            except FileNotFoundError:
                return False
            self._done[piece] = SliceResult(**{**fields, "shards": [Shard(**shard) for shard in fields["shards"]]})
        return True

    def result(self, piece: int) -> SliceResult:
        """What became of a slice that is packed."""
        found = self.is_done(piece)
        assert found, piece
        return self._done[piece]

    def finish_slice(self, piece: int, result: SliceResult) -> None:
        """Note that a slice is packed."""
        write_durably(self.folder(piece) / _DONE, json.dumps(asdict(result)).encode())

    def busy(self) -> str | None:
        """Somebody who is at work on a slice or on the end, if there is one."""
        pieces = os.scandir(self.root / "slices")
        folders = [Path(entry.path) for entry in pieces if not os.path.exists(os.path.join(entry.path, _DONE))]
        holders = (holder_of(folder) for folder in [*folders, self.root / "finish"])
        return next((holder for holder in holders if holder is not None), None)

    def remove(self) -> None:
        """Remove the work folder: the packing is finished, or given up."""
        shutil.rmtree(self.root, ignore_errors=True)


def changes_of(source: dict[str, Any], pack: dict[str, Any], reader: Reader, settings: PackSettings) -> list[str]:
    """What is different now from the source and settings that a packing had, as half sentences."""
    now = {**_describe(reader), "entries": source["entries"], "listing": source["listing"]}
    return _differences({"source": source, **pack}, {"source": now, **json.loads(json.dumps(settings.identity()))})


def _write(out: Path, reader: Reader, settings: PackSettings, seen: Callable[[int], None]) -> None:
    """Begin a packing: list the source, then write packing.json."""
    root = out / FOLDER
    shutil.rmtree(root / "listing", ignore_errors=True)
    (root / "slices").mkdir(exist_ok=True)
    listing = Listing.write(reader, root / "listing", settings.images_per_slice, seen)
    Excluded.write(root / "excluded", settings.exclude, near=settings.duplicates == "near")
    source = {**_describe(reader), "entries": listing.entries, "listing": listing.hash}
    fields = {"source": source, "pack": settings.identity(), "settings": settings.plain()}
    write_durably(root / _FILE, json.dumps(fields).encode())
    sync_directory(out)


def _read(out: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((out / FOLDER / _FILE).read_bytes())
    return fields


def _describe(reader: Reader) -> dict[str, Any]:
    """A source as plain JSON values, and the config by which another process builds its reader."""
    config = None if reader.config is None else asdict(reader.config)
    fields: dict[str, Any] = json.loads(json.dumps({**reader.describe(), "reader": config}))
    return fields


def _differences(before: dict[str, Any], now: dict[str, Any], within: str = "") -> list[str]:
    """What changed between two nested mappings, as half sentences: "probe was 'strict' and is now 'full'"."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        dotted = f"{within}.{name}" if within else name
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, dotted)
        elif old != new:
            found.append(f"{dotted} was {old!r} and is now {new!r}")
    return found
