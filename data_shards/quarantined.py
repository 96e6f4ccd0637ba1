"""The quarantine of a shard set, to look at: which images were rejected and why, and their bytes.

    quarantine/ledger.jsonl        {"number": 17, "source": "cat/a.jpg", "reason": "truncated", "tar": …, "member": …}
    quarantine/images-000017.tar   the originals, named by key and without an extension

What the ledger says came with the images and is not trusted: a file is never written under a name from it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_shards.errors import OutputError, ShardError
from data_shards.manifest import Manifest
from data_shards.packing.quarantine import FOLDER, LEDGER
from data_shards.sample import key_for
from data_shards.tar import Member, walk

_MAGIC = (
    *((b"\xff\xd8\xff", "jpg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"II*\0", "tif")),
    *((b"MM\0*", "tif"), (b"%PDF", "pdf"), (b"\x1f\x8b", "gz"), (b"PK\x03\x04", "zip")),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """One line of the ledger. `tar` and `member` say where the original lies; None where its bytes were never had."""

    number: int | None
    source: str
    reason: str
    detail: str = ""
    bytes: int | None = None
    hash: str | None = None
    tar: str | None = None
    member: str | None = None


def rejected(directory: Path, reason: str | None = None) -> Iterator[Rejected]:
    """The rejected images of a shard set in the order of the ledger, those with `reason` or all.

    Raises `ShardError` at a line that is damaged.
    """
    path = directory / FOLDER / LEDGER
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            entry = parse_line(line)
            if entry is None:
                right = "bring the file back, or pack the shards again"
                raise ShardError(str(path), f"line {number} is damaged", right)
            if reason is None or entry.reason == reason:
                yield entry


def line_of(entry: Rejected) -> bytes:
    """The line of the ledger that says so."""
    return json.dumps(asdict(entry)).encode("ascii") + b"\n"


def parse_line(line: bytes) -> Rejected | None:
    """A line of the ledger, None where it is none."""
    try:
        fields = json.loads(line)
        entry = Rejected(**{name: fields[name] for name in Rejected.__dataclass_fields__ if name in fields})
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (entry.source, entry.reason, entry.detail)
    names = (entry.hash, entry.tar, entry.member)
    numbers = (entry.number, entry.bytes)
    sound = all(isinstance(text, str) for text in texts)
    sound = sound and all(name is None or isinstance(name, str) for name in names)
    return entry if sound and all(number is None or type(number) is int for number in numbers) else None


class Originals:
    """Reads the originals; one tar is open at a time, for neighbours in the ledger lie in the same one."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / FOLDER
        self._tar: str | None = None
        self._descriptor = -1
        self._members: dict[str, Member] = {}

    def read(self, entry: Rejected) -> bytes | None:
        """The bytes of a rejected image; None where there are none. Raises `OSError` or `ValueError` for damage."""
        if entry.tar is None or entry.member is None:
            return None
        if entry.tar != self._tar:
            self._open(entry.tar)
        member = self._members.get(entry.member)
        if member is None:
            raise ValueError(f"{entry.tar} has no member {entry.member!r}")
        return os.pread(self._descriptor, member.size, member.offset)

    def close(self) -> None:
        """Close the open tar."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._tar, self._descriptor, self._members = None, -1, {}

    def _open(self, tar: str) -> None:
        self.close()
        path = quarantine_tar(self.folder.parent, tar)
        if path is None:
            raise ValueError(f"{tar!r} is no name of a tar")
        self._descriptor = os.open(path, os.O_RDONLY)
        self._members = {member.name: member for member in walk(self._descriptor, os.fstat(self._descriptor).st_size)}
        self._tar = tar


def quarantine_tar(directory: Path, name: str) -> Path | None:
    """The path of a tar that the ledger names; None where that leads out of the quarantine."""
    name = name.removeprefix(f"{FOLDER}/")
    return directory / FOLDER / name if name.endswith(".tar") and "/" not in name and "\0" not in name else None


def show(directory: Path, reason: str | None = None, limit: int = 20) -> Iterator[str]:
    """The quarantine in lines: counts by reason, then the first `limit` entries. Raises `ShardError`."""
    manifest = Manifest.load(directory)
    counts = Counter(manifest.reasons)
    if reason is not None and reason not in counts:
        _refuse(directory, reason, counts)
    yield f"{directory}: {manifest.totals.get('quarantined', 0):,} of {manifest.totals.get('listed', 0):,} quarantined"
    for name, count in counts.most_common():
        yield f"  {count:>11,}  {name}"
    total = sum(counts.values()) if reason is None else counts[reason]
    for shown, entry in enumerate(rejected(directory, reason)):
        if shown == limit:
            yield f"{total - shown:,} more; --limit {total} shows all"
            break
        number = "-" if entry.number is None else entry.number
        size = "no bytes" if entry.bytes is None else f"{entry.bytes:,} bytes"
        detail = f" ({printable(entry.detail)})" if entry.detail else ""
        yield f"{number}  {printable(entry.source)}  {printable(entry.reason)}{detail}  {size}"


def export(directory: Path, folder: Path, reason: str | None = None) -> tuple[int, int]:
    """Write the originals into an empty folder, each under its key, and the ledger beside them with the name of each.

    Gives how many were written, and how many have no bytes that could be. Raises `ShardError` and `OutputError`.
    """
    manifest = Manifest.load(directory)
    if reason is not None and reason not in manifest.reasons:
        _refuse(directory, reason, manifest.reasons)
    written = without = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if next(folder.iterdir(), None) is not None:
            raise OutputError(str(folder), "is not empty", "give an empty or a new folder")
        originals = Originals(directory)
        with open(folder / LEDGER, "xb") as ledger:
            for place, entry in enumerate(rejected(directory, reason)):
                name, fault = None, None
                try:
                    image = originals.read(entry)
                except (OSError, ValueError) as error:  # of the quarantine; those of the folder end the export
                    image, fault = None, str(error)
                if image is None:
                    without += 1
                else:
                    key = key_for(place if entry.number is None else entry.number, entry.source)
                    name = f"{key}.{extension_of(image)}"
                    if (folder / name).exists():  # a ledger that was edited may give a number twice
                        name = f"{key}-line{place}.{extension_of(image)}"
                    with open(folder / name, "xb") as file:
                        file.write(image)
                    written += 1
                line: dict[str, Any] = {**asdict(entry), "file": name}
                ledger.write(json.dumps(line | ({"fault": fault} if fault else {})).encode("ascii") + b"\n")
        originals.close()
    except OSError as error:
        raise OutputError(str(folder), f"cannot be written ({error.strerror})", "give a folder with room") from None
    return written, without


def extension_of(data: bytes) -> str:
    """The extension that fits some bytes, by how they begin."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return "avif" if data[8:12] in (b"avif", b"avis") else "heic"
    if data[:256].lstrip().lower().startswith((b"<html", b"<!doctype")):
        return "html"
    return next((extension for magic, extension in _MAGIC if data.startswith(magic)), "bin")


def _refuse(directory: Path, reason: str, counts: Iterable[str]) -> None:
    known = ", ".join(counts) or "nothing"
    raise ShardError(str(directory), f"nothing was quarantined as {reason!r}", f"it holds {known}")


def printable(text: str) -> str:
    """Text from outside on one line, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
