"""The folder inside a shard set in which a change to it is made ready."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from data_shards.errors import OutputError
from data_shards.manifest import FILE
from data_shards.repair.drop import publish
from data_shards.verify import REPAIR


@contextlib.contextmanager
def work_folder(directory: Path) -> Iterator[Path]:
    """The work folder, empty, and held against others; a change that a kill has interrupted is made first.

    It stays where its files must be moved out. Raises `OutputError` where another process is at work in it, or the disk
    does not take it.
    """
    work = directory / REPAIR
    try:
        work.mkdir(exist_ok=True)
        descriptor = os.open(work, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise OutputError(str(directory), "another process repairs it", "wait for it") from None
            if (work / FILE).exists():
                publish(directory, work)
            for stale in work.iterdir():
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
            try:
                yield work
            finally:
                if not (work / FILE).exists():
                    shutil.rmtree(work, ignore_errors=True)
        finally:
            os.close(descriptor)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        given = "no space is left on its disk" if full else f"cannot be written ({error.strerror})"
        right = "free some and repeat the command" if full else "repair it where you may write"
        raise OutputError(str(directory), given, right) from None
