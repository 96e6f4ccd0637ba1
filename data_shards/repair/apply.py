"""Takes the samples that the ledgers of runs name out of a shard set, in place or into a new directory.

    bad_samples.jsonl ─▶ samples of this set, by shard, key and sha256 ─▶ their shards without them ─▶ new manifest
                                                └─▶ their images into the quarantine

Nothing vanishes: an image that goes is in the quarantine then, with the reason that the run met. A new directory gets
links to the files that stay as they are, where both lie on one file system. Killed anywhere, the same command goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_shards import images
from data_shards.checking.members import number_in, parse_story
from data_shards.checking.verified import forget
from data_shards.durable import AppendFile, move_durably
from data_shards.errors import ImageError, OutputError, ShardError, UserError
from data_shards.index import image_in, samples_in
from data_shards.ledger import entries, ledgers_in
from data_shards.manifest import FILE, Manifest, Shard
from data_shards.packing.quarantine import FOLDER, tar_name
from data_shards.packing.wids_index import name_for
from data_shards.progress import Progress
from data_shards.quarantined import Rejected, rejected
from data_shards.repair.drop import go_on_without
from data_shards.repair.work import work_folder
from data_shards.shard_hash import hash_of
from data_shards.shard_writer import OpenShard
from data_shards.tar import END, Member, append
from data_shards.verify import REPAIR

DONE = "quarantine apply"

Named = dict[str, dict[str, tuple[str, str]]]
"""Of each shard the samples to take out: key → (sha256, reason)."""


@dataclass
class Applied:
    """What was done: samples taken out by reason, those that were out before, and lines that speak of other sets."""

    directory: Path
    root: str
    reasons: Counter[str] = field(default_factory=Counter)
    shards: list[str] = field(default_factory=list)
    already: int = 0
    others: int = 0


def apply(directory: Path, ledgers: Sequence[Path], out: Path | None = None, quiet: bool = True) -> Applied:
    """Take out what the ledgers (files, or directories of runs) name; in place, or where `out` is given, there.

    Raises `ShardError` where a ledger is of another set or a shard is damaged, and `OutputError`.
    """
    manifest = Manifest.load(directory)
    if manifest.at is not None:
        raise ShardError(str(directory), f"its shards lie at {manifest.at}", "copy them into a directory first")
    files = [file for ledger in ledgers for file in _files(ledger)]
    if out is not None:
        _check_empty(directory, out, manifest)
    target = out or directory
    with work_folder(target) as work:
        if out is not None and (out / FILE).exists():  # it was finished before, or just now, after a kill
            return Applied(out, Manifest.load(out).root)
        manifest = Manifest.load(directory)
        done = Applied(target, manifest.root)
        named = _named(directory, manifest, files, done)
        if not named:
            return done
        removal = _Removal(directory, work, manifest)
        with (
            contextlib.closing(removal),
            Progress(sum(map(len, named.values())), unit="samples", label="quarantine apply", quiet=quiet) as progress,
        ):
            for shard in manifest.shards:
                if shard.name in named:
                    removal.rewrite(shard, named[shard.name], progress)
            removal.finish()
        if out is not None:
            lists = map(name_for, manifest.splits)
            written = (name for s in removal.replaced.values() for name in (s.name, s.index_name))
            _link(directory, out, {FILE, *lists, *written})
        told = {"done": DONE, "ledgers": [str(file) for file in files]}
        now = go_on_without(target, work, manifest, removal.gone, removal.replaced, told, removal.traits)
        forget(target)
        done.root, done.shards = now.root, list(removal.replaced)
        done.reasons.update(entry.reason for entry in removal.gone)
        return done


class _Removal:
    """Writes shards into the work folder without some of their samples, and these into a tar of the quarantine."""

    def __init__(self, directory: Path, work: Path, manifest: Manifest) -> None:
        self.directory, self.work = directory, work
        self.gone: list[Rejected] = []
        self.replaced: dict[str, Shard] = {}
        self.traits: Counter[str] = Counter()
        tars = {path.name for path in (directory / FOLDER).glob("images-*.tar")}
        self.tar = next(name for name in map(tar_name, range(len(tars), 10**6)) if name not in tars)
        (work / FOLDER).mkdir()
        self._originals = AppendFile(work / FOLDER / self.tar)

    def rewrite(self, shard: Shard, keys: Mapping[str, tuple[str, str]], progress: Progress) -> None:
        """Write a shard without these samples. Raises `ShardError` where it is damaged or holds others."""
        path = self.directory / shard.name
        _check_whole(path, shard)
        tar, left = OpenShard(self.work / shard.name, shard.split), dict(keys)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            for members in samples_in(path):
                contents = [(m.name, os.pread(descriptor, m.size, m.offset)) for m in members]
                key = _key(members)
                if key not in left:
                    tar.append(contents)
                    continue
                digest, reason = left.pop(key)
                self._put_aside(shard, key, dict(contents), image_in(members), digest, reason)
                progress.update(1)
            self.replaced[shard.name] = tar.finish(shard.first_index)
        finally:
            os.close(descriptor)
            tar.file.close()

    def finish(self) -> None:
        """End the tar of the quarantine."""
        self._originals.append(END)
        self._originals.sync()

    def close(self) -> None:
        """Close it."""
        self._originals.close()

    def _put_aside(
        self, shard: Shard, key: str, contents: Mapping[str, bytes], member: Member | None, digest: str, reason: str
    ) -> None:
        image = b"" if member is None else contents[member.name]
        if hashlib.sha256(image).hexdigest() != digest:
            raise ShardError(
                str(self.directory / shard.name),
                f"its sample {key} is not the one that the ledger names (sha256)",
                "give the ledger of a run on this set",
            )
        parts, _ = append([(key, image)], self._originals.length)
        self._originals.extend(parts)
        with contextlib.suppress(ImageError):
            self.traits.update(images.probe(image).traits)
        self.gone.append(
            Rejected(
                number=number_in(key),
                source=str(_story(contents).get("source", key)),
                reason=reason,
                detail=f"met by a run in {shard.name}",
                bytes=len(image),
                hash=digest,
                tar=self.tar,
                member=key,
            )
        )


def _named(directory: Path, manifest: Manifest, files: Sequence[Path], done: Applied) -> Named:
    """The samples of this set that the ledgers name and that are still in it."""
    roots = {manifest.root, *(entry.get("root") for entry in manifest.lineage)}
    lines: dict[tuple[str, str, str], str] = {}
    for file in files:
        for entry in entries(file):
            if entry.get("root") not in {None, *roots}:
                done.others += 1
            elif all(isinstance(entry.get(name), str) for name in ("shard", "key", "hash", "reason")):
                lines[entry["shard"], entry["key"], entry["hash"]] = entry["reason"]
    if done.others and not lines:
        raise ShardError(
            str(directory), f"none of {done.others} lines speaks of it", "give the ledger of a run on this set"
        )
    out = {(entry.number, entry.hash) for entry in rejected(directory)} if manifest.lineage else set()
    named: Named = {}
    held: dict[str, set[str]] = {}
    shards = {shard.name for shard in manifest.shards}
    for (shard, key, digest), reason in sorted(lines.items()):
        if shard in shards:
            if shard not in held:
                held[shard] = {_key(members) for members in _samples(directory / shard)}
            if key in held[shard]:
                named.setdefault(shard, {})[key] = (digest, reason)
                continue
        if (number_in(key), digest) not in out:
            given = f"holds no sample {key!r} in {shard!r}, which a ledger names"
            raise ShardError(str(directory), given, "give the ledger of a run on this set")
        done.already += 1
    return named


def _samples(tar: Path) -> list[list[Member]]:
    try:
        return samples_in(tar)
    except FileNotFoundError:
        raise ShardError.missing(tar) from None
    except ValueError:
        raise _damaged(tar) from None


def _check_whole(path: Path, shard: Shard) -> None:
    try:
        whole = hash_of(path) == shard.hash
    except ValueError:
        whole = False
    if not whole:
        raise _damaged(path)


def _damaged(path: Path) -> ShardError:
    command = f"python -m data_shards repair {path.parent}"
    return ShardError(str(path), "its bytes are not those that were packed", "repair it first", command)


def _files(ledger: Path) -> list[Path]:
    files = ledgers_in(ledger) if ledger.is_dir() else [ledger] * ledger.is_file()
    if not files:
        raise UserError(str(ledger), "holds no ledger", "give bad_samples.jsonl, or the directory of a run that has it")
    return files


def _check_empty(directory: Path, out: Path, manifest: Manifest) -> None:
    """Refuse a directory that holds anything else than this set without the samples, finished or not."""
    if out.resolve() == directory.resolve():
        raise OutputError(str(out), "is the set itself", "leave out --out and say --in-place to change it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / FILE).exists():
            last: dict[str, Any] = (Manifest.load(out).lineage or [{}])[-1]
            if (last.get("root"), last.get("done")) == (manifest.root, DONE):
                return
            raise OutputError(str(out), "holds another shard set", "give an empty or a new directory")
        known = {*os.listdir(directory), REPAIR, FOLDER}
        strange = [name for name in os.listdir(out) if name not in known and not name.endswith(".partial")]
    except OSError as error:
        raise OutputError(str(out), f"cannot be written ({error.strerror})", "give another directory") from None
    if strange or (any(out.iterdir()) and not (out / REPAIR).is_dir()):
        raise OutputError(str(out), "is not empty", "give an empty or a new directory")


def _link(directory: Path, out: Path, without: set[str]) -> None:
    """The files of a set in another directory, but for those named."""
    for folder in ("", FOLDER):
        if not (directory / folder).is_dir():
            continue
        (out / folder).mkdir(exist_ok=True)
        for path in sorted((directory / folder).iterdir()):
            target = out / folder / path.name
            left_out = path.name.startswith(".") or path.name in without or not path.is_file()
            if not left_out and not target.exists():
                _link_or_copy(path, target)


def _link_or_copy(path: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
    move_durably(partial, target)


def _key(members: Sequence[Member]) -> str:
    directory, slash, base = members[0].name.rpartition("/")
    return directory + slash + base.partition(".")[0]


def _story(contents: Mapping[str, bytes]) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        return next((parse_story(text) for name, text in contents.items() if name.endswith(".json")), {})
    return {}
