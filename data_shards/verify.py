"""Is a shard set what its manifest says: every tar is hashed and parsed again, on request every image decoded.

- Each file is read once, by several processes; by threads where there is little to read. Hashing releases the
  interpreter lock, but of small images the lock is most of the work: two threads were slower than one.
- What was read is noted (`verified.py`), so that an interrupted pass goes on with the files that are left.
- The books are checked as well (`accounts.py`): totals, ledgers, and files that do not belong there.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from data_shards.checking.accounts import Ledgers, manifest_damages, quarantine_reasons, strays
from data_shards.checking.damage import Damage, reasons_in
from data_shards.checking.verified import Stamps, Verified, stamps_of
from data_shards.errors import ShardError, UserError
from data_shards.manifest import FILE, Manifest, Shard
from data_shards.packing.examine import cores
from data_shards.packing.quarantine import FOLDER, LEDGER
from data_shards.progress import Progress
from data_shards.quarantined import quarantine_tar

_MANY_BYTES = 500_000_000  # worth starting processes for
REPAIR = ".repair"  # the work folder of a repair; with a manifest in it, files are being moved out of it


class _Task(NamedTuple):
    """A file to read: its name, the files that must not change meanwhile, and what gives the reasons."""

    name: str
    paths: list[Path]
    images: int
    bytes: int
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
    if manifest.at is not None:
        raise ShardError(str(directory), f"its shards lie at {manifest.at}", "give a directory that holds them")
    progress = progress or Progress(quiet=True)
    ledgers = Ledgers(directory)
    damages = [*manifest_damages(manifest), *ledgers.against(manifest)]
    damages += strays(directory, manifest, {tar.removeprefix(f"{FOLDER}/") for tar in ledgers.ranges})
    tasks = list(_tasks(directory, manifest, ledgers, decode))
    progress.total = sum(task.images for task in tasks)
    verified = Verified(directory, manifest.root, again=again)
    try:
        damages += _run(tasks, decode, verified, progress, len(damages))
        verified.finish(bool(damages))
    finally:
        verified.close()
    return damages


def _tasks(directory: Path, manifest: Manifest, ledgers: Ledgers, decode: bool) -> Iterator[_Task]:
    for shard in manifest.shards:
        paths = [directory / shard.name, directory / shard.index_name]
        read = partial(_shard_reasons, directory, manifest.root, shard, decode)
        yield _Task(shard.name, paths, shard.samples, shard.bytes, read)
    ledger = directory / FOLDER / LEDGER
    for tar, (begin, end) in ledgers.ranges.items():
        path = quarantine_tar(directory, tar) or ledger
        size = path.stat().st_size if path.exists() else 0
        read = partial(quarantine_reasons, directory, tar, begin, end)
        yield _Task(f"{FOLDER}/{tar.removeprefix(FOLDER + '/')}", [path, ledger], 0, size, read)


def _shard_reasons(directory: Path, root: str, shard: Shard, decode: bool) -> list[str]:
    return reasons_in(directory, shard, _classes(directory, root), decode)


@lru_cache(maxsize=1)
def _classes(directory: Path, root: str) -> dict[str, int]:
    """The numbers of the labels, once in each process instead of along with each shard."""
    return {name: number for number, name in enumerate(Manifest.load(directory).classes)}


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
    with _pool(sum(task.bytes for task in left)) as pool:
        try:
            for task, (stamps, reasons) in zip(left, pool.map(_read, left), strict=True):
                verified.note(task.name, stamps, decode, reasons)
                known[task.name] = reasons
                found += len(reasons)
                read += task.bytes
                rate = read / 1e6 / max(time.monotonic() - began, 1e-9)
                progress.update(task.images, damages=found, **{"MB/s": round(rate)})
        except BrokenExecutor:
            right = "free some memory and repeat the command, it goes on where it stopped"
            raise UserError("verify", "one of its processes was killed", right) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for task in tasks:
        damages += [Damage(task.name, reason) for reason in known[task.name]]
    return damages


def _pool(size: int) -> Executor:
    """Workers for so many bytes."""
    if size < _MANY_BYTES:
        return ThreadPoolExecutor(cores(), thread_name_prefix="verify")
    return ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    """Begin a worker: Ctrl-C ends it at once and silently, and it does not outlive the process that began it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _read(task: _Task) -> tuple[Stamps, list[str]]:
    stamps = stamps_of(task.paths)
    return stamps, task.read()
