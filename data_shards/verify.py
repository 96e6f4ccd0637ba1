"""Is a shard set what its manifest says: every tar is hashed and parsed again, on request every image decoded.

- Each file is read once, by several threads: hashing, reading and decoding release the interpreter lock.
- What was read is noted (`verified.py`), so that an interrupted pass goes on with the files that are left.
- The books are checked as well (`accounts.py`): totals, ledgers, and files that do not belong there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from data_shards.accounts import Ledgers, manifest_damages, quarantine_reasons, strays
from data_shards.damage import Damage, reasons_in
from data_shards.errors import ShardError
from data_shards.examine import cores
from data_shards.manifest import FILE, Manifest
from data_shards.progress import Progress
from data_shards.quarantined import FOLDER, LEDGER, quarantine_tar
from data_shards.verified import Stamps, Verified, stamps_of

REPAIR = ".repair"  # the work folder of a repair; with a manifest in it, files are being moved out of it


class _Task(NamedTuple):
    """A file to read: its name, the files that must not change meanwhile, and what gives the reasons."""

    name: str
    paths: list[Path]
    images: int
    read: Callable[[], list[str]]


def verify(directory: Path, decode: bool = False, progress: Progress | None = None, again: bool = True) -> list[Damage]:
    """Everything that is wrong with a shard set; empty when it is whole.

    With `decode` every pixel is decoded too. An interrupted pass is gone on with; one that was complete is begun again
    unless `again` is False, which takes what it found. Raises `ShardError` where there is no manifest to compare with.
    """
    directory = Path(directory)
    manifest = Manifest.load(directory)
    if (directory / REPAIR / FILE).exists():
        command = f"python -m data_shards repair {directory} --drop"
        raise ShardError(str(directory), "holds a repair that was not finished", "let it go on", command)
    progress = progress or Progress(quiet=True)
    ledgers = Ledgers(directory)
    damages = [*manifest_damages(manifest), *ledgers.against(manifest)]
    damages += strays(directory, manifest, {tar.removeprefix(f"{FOLDER}/") for tar in ledgers.ranges})
    tasks = [*_shard_tasks(directory, manifest, decode), *_quarantine_tasks(directory, ledgers)]
    progress.total = sum(task.images for task in tasks)
    verified = Verified(directory, manifest.root, again=again)
    try:
        damages += _run(tasks, decode, verified, progress, len(damages))
        verified.finish(bool(damages))
    finally:
        verified.close()
    return damages


def _shard_tasks(directory: Path, manifest: Manifest, decode: bool) -> list[_Task]:
    classes = {name: number for number, name in enumerate(manifest.classes)}
    return [
        _Task(
            shard.name,
            [directory / shard.name, directory / shard.index_name],
            shard.samples,
            partial(reasons_in, directory, shard, classes, decode),
        )
        for shard in manifest.shards
    ]


def _quarantine_tasks(directory: Path, ledgers: Ledgers) -> list[_Task]:
    tasks = []
    for tar in ledgers.ranges:
        path = quarantine_tar(directory, tar) or directory / FOLDER / LEDGER
        read = partial(lambda tar: quarantine_reasons(directory, tar, ledgers.of(tar)), tar)
        tasks.append(_Task(f"{FOLDER}/{tar.removeprefix(FOLDER + '/')}", [path, directory / FOLDER / LEDGER], 0, read))
    return tasks


def _run(tasks: list[_Task], decode: bool, verified: Verified, progress: Progress, found: int) -> list[Damage]:
    """The damages in the order of the tasks; each is noted as soon as its file was read."""
    damages: list[Damage] = []
    left = []
    known: dict[str, list[str]] = {}
    for task in tasks:
        reasons = verified.reasons(task.name, stamps_of(task.paths), decode)
        if reasons is None:
            left.append(task)
        else:
            known[task.name] = reasons
    progress.start_at(sum(task.images for task in tasks if task.name in known))
    began, read = time.monotonic(), 0
    with ThreadPoolExecutor(cores(), thread_name_prefix="verify") as pool:
        try:
            for task, (stamps, reasons) in zip(left, pool.map(_read, left), strict=True):
                verified.note(task.name, stamps, decode, reasons)
                known[task.name] = reasons
                found += len(reasons)
                read += stamps[0][0] if stamps[0] else 0
                rate = read / 1e6 / max(time.monotonic() - began, 1e-9)
                progress.update(task.images, damages=found, **{"MB/s": round(rate)})
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for task in tasks:
        damages += [Damage(task.name, reason) for reason in known[task.name]]
    return damages


def _read(task: _Task) -> tuple[Stamps, list[str]]:
    stamps = stamps_of(task.paths)
    return stamps, task.read()
