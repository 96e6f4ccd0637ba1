"""Do the books of a shard set agree: the manifest with itself, with the ledgers, and with the names in the directory.

listed = accepted + quarantined + duplicates; each sample has its place in the chain of indices; each rejected image a
line in the ledger and, where its bytes were had, a member in a tar that holds these bytes and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_shards.checking.damage import Damage
from data_shards.manifest import FILE, Manifest
from data_shards.packing.quarantine import FOLDER, LEDGER
from data_shards.packing.slice_packer import DUPLICATES
from data_shards.quarantined import parse_line, quarantine_tar
from data_shards.tar import BLOCK, END, header, padding, walk


def manifest_damages(manifest: Manifest) -> Iterator[Damage]:
    """Where the manifest contradicts itself."""
    totals, samples = manifest.totals, sum(shard.samples for shard in manifest.shards)
    parts = sum(totals.get(name, 0) for name in ("accepted", "quarantined", "duplicates"))
    for name, given, right in (
        ("listed", totals.get("listed"), parts),
        ("accepted", totals.get("accepted"), samples),
        ("quarantined", totals.get("quarantined"), sum(manifest.reasons.values())),
        *([("duplicates", totals.get("duplicates"), sum(manifest.duplicates.values()))] * bool(manifest.duplicates)),
    ):
        if given != right:
            yield Damage(FILE, f"says {given} {name}, its parts add up to {right}")
    twice = [name for name, count in Counter(shard.name for shard in manifest.shards).items() if count > 1]
    if twice:
        yield Damage(FILE, f"names {twice[0]} twice")
    for split in manifest.splits:
        at = 0
        for shard in manifest.of(split):
            if shard.first_index != at:
                yield Damage(FILE, f"gives {shard.name} the first index {shard.first_index}, it begins at {at}")
            at = shard.first_index + shard.samples


def strays(directory: Path, manifest: Manifest, quarantine_tars: set[str]) -> Iterator[Damage]:
    """Tars and indices that the manifest does not know: other tools would take them for shards of the set."""
    known = {name for shard in manifest.shards for name in (shard.name, shard.index_name)}
    for folder, expected in (("", known), (FOLDER, quarantine_tars)):
        if not (directory / folder).is_dir():
            continue
        for name in sorted(os.listdir(directory / folder)):
            if not name.endswith((".tar", ".idx")) or name.startswith(".") or name in expected:
                continue
            if not (folder and _is_empty(directory / folder / name)):
                yield Damage(os.path.join(folder, name), "does not belong to the set; move it away")


def _is_empty(tar: Path) -> bool:
    """Whether it is a tar without members: that of a slice of which no rejected image had any bytes."""
    with open(tar, "rb") as file:
        return file.read(len(END) + 1) == END


class Ledgers:
    """Both ledgers, read once and counted. `ranges` says which bytes of the quarantine's speak of each tar."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FOLDER / LEDGER
        self.reasons: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.ranges: dict[str, tuple[int, int]] = {}
        self.damages: list[Damage] = []
        for at, line in _lines(self.path):
            entry = parse_line(line)
            if entry is None:
                self.damages.append(Damage(f"{FOLDER}/{LEDGER}", f"the line at byte {at} is damaged"))
                continue
            self.reasons[entry.reason] += 1
            if entry.tar is not None and entry.member is not None:
                begin, _ = self.ranges.get(entry.tar, (at, at))
                self.ranges[entry.tar] = (begin, at + len(line))
        for at, line in _lines(directory / DUPLICATES):
            try:
                self.kinds[str(json.loads(line)["kind"])] += 1
            except (ValueError, KeyError, TypeError):
                self.damages.append(Damage(DUPLICATES, f"the line at byte {at} is damaged"))

    def against(self, manifest: Manifest) -> Iterator[Damage]:
        """Where the ledgers contradict the manifest, and lines that are damaged."""
        yield from self.damages
        for name, counted, given in (
            (f"{FOLDER}/{LEDGER}", self.reasons, manifest.reasons),
            (DUPLICATES, self.kinds, manifest.duplicates),
        ):
            for kind in sorted({*counted, *given}):
                if counted[kind] != given.get(kind, 0):
                    yield Damage(name, f"has {counted[kind]} lines of {kind!r}, the manifest says {given.get(kind, 0)}")


def quarantine_reasons(directory: Path, tar: str, begin: int, end: int) -> list[str]:
    """What is wrong with a tar of rejected images, of which the ledger speaks between these bytes, in its order."""
    lines = (parse_line(line) for _, line in _lines(directory / FOLDER / LEDGER, begin, end))
    entries = (entry for entry in lines if entry is not None and entry.tar == tar and entry.member)
    path = quarantine_tar(directory, tar)
    if path is None:
        return ["is no name of a tar"]
    try:
        with open(path, "rb", buffering=0) as file:
            descriptor, end = file.fileno(), 0
            for member in walk(descriptor, os.fstat(descriptor).st_size):
                block = os.pread(descriptor, BLOCK + member.size + -member.size % BLOCK, end)
                entry = next(entries, None)
                if entry is None or entry.member != member.name:
                    return [f"its member {member.name} is not the next of the ledger"]
                image = block[BLOCK : BLOCK + member.size]
                if block != header(member.name, member.size) + image + padding(member.size):
                    return [f"the header of {member.name} is damaged"]
                if (len(image), hashlib.sha256(image).hexdigest()) != (entry.bytes, entry.hash):
                    return [f"{member.name} is not the image of the ledger (sha256)"]
                end += len(block)
            left = next(entries, None)
            if left is not None:
                return [f"holds no {left.member}, which the ledger names"]
            if os.pread(descriptor, 2 * len(END), end) != END:
                return ["its end is damaged"]
    except FileNotFoundError:
        return ["is missing"]
    except ValueError as error:
        return [str(error)]
    except OSError as error:
        return [f"cannot be read ({error.strerror})"]
    return []


def _lines(path: Path, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of the lines of a file, none where there is no file."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(begin)
        at = begin
        for line in file:
            if end is not None and at >= end:
                return
            yield at, line
            at += len(line)
