"""Saves while training goes on.

    training's thread    copies the state to the staging buffer: the only time that training stands still
    a second thread      writes and hashes this process's part; when all have, the first makes a checkpoint of them

The next save waits for the one at work, and so does `finish`. What goes wrong in the second thread is raised by the
next call of `check`, `save` or `finish`, in every process; the checkpoints before are as they were.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from pipeline.checkpoints import generators
from pipeline.checkpoints.commit import Position, begin, commit, temporary_of
from pipeline.checkpoints.job import Job
from pipeline.checkpoints.manifest import FOLDER, FORMAT, Saved, code_versions
from pipeline.checkpoints.part import Written, part_name, write_part
from pipeline.checkpoints.pieces import Shared, share
from pipeline.checkpoints.retention import Retention, tidy
from pipeline.checkpoints.staging import Staging
from pipeline.checkpoints.state import State
from pipeline.runs import disk_error

T = TypeVar("T")


class Saver:
    """Writes the checkpoints of one run. Making one, saving and closing are collectives; `check` is none."""

    def __init__(self, run: Path, retention: Retention | None = None, *, config: str = "") -> None:
        """`config` is the resolved config as text. What killed saves left in the run directory is removed."""
        self.folder = run / FOLDER
        self.retention = retention or Retention()
        self.job = Job()
        self.newest: Saved | None = None
        """The last checkpoint of this saver that is safe on the disk."""
        self._safe: queue.SimpleQueue[tuple[Saved, float, float]] = queue.SimpleQueue()
        self._facts: dict[str, Any] = {"config": config}
        self._staging = Staging()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        if self.job.is_first:
            tidy(self.folder)
            self._facts["code"] = code_versions()

    def save(self, state: State, position: Position, *, wait: bool = False) -> None:
        """Copy the state, and write it in the background or, with `wait`, here and now.

        Waits for the save before this one. Raises `RunError` for what the disk has done to that one or, with `wait`, to
        this one; `TypeError` for a value that no checkpoint can hold.
        """
        started = time.perf_counter()
        self.finish()
        shared = share(state, self.job.rank, self.job.world)
        buffer = self._staging.copy(shared.pieces)
        random = generators.states()

        stall = time.perf_counter() - started

        def write() -> None:
            self.newest = self._write(shared, buffer, random, position)
            seconds = time.perf_counter() - started
            self._safe.put((self.newest, seconds if wait else stall, seconds))

        def write_behind() -> None:
            try:
                write()
            except BaseException as error:
                self._error = error

        if wait:
            write()
        else:
            self._thread = threading.Thread(target=write_behind, name="checkpoint", daemon=True)
            self._thread.start()

    def safe(self) -> Iterator[tuple[Saved, float, float]]:
        """The checkpoints that have become safe on the disk since the last call.

        With the seconds that training stood still for each, the wait for the one before included, and the seconds until
        it was safe.
        """
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._safe.get_nowait()

    @property
    def is_saving(self) -> bool:
        """Whether a save is at work."""
        return self._thread is not None and self._thread.is_alive()

    def check(self) -> None:
        """Raise what has gone wrong in the background; costs nothing."""
        if self._error is not None and not self.is_saving:
            error, self._error = self._error, None
            raise error

    def finish(self) -> None:
        """Wait until the save at work, if there is one, is safe on the disk. Raises as `check` does."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def close(self) -> None:
        """Finish, and give back what is held."""
        try:
            self.finish()
        finally:
            self.job.close()

    def _write(self, shared: Shared, buffer: Tensor, random: str, position: Position) -> Saved:
        """One save after the copy. All processes leave it with the same checkpoint or the same error."""
        job, step = self.job, position.step
        fault = None
        if job.is_first:
            fault = self._attempt(lambda: begin(self.folder, step, shared.bytes, job.world, self.retention))
        _raise(job.tell(fault))
        path = temporary_of(self.folder, step) / part_name(job.rank, job.world)
        metadata = {"format": f"seer-pipeline-checkpoint/{FORMAT}", "generators": random}
        parts = job.gather(self._attempt(lambda: write_part(path, shared.pieces, buffer, metadata)))
        outcome: Saved | Exception | None = None
        if job.is_first:
            written = [part for part in parts if isinstance(part, Written)]
            outcome = next((part for part in parts if isinstance(part, Exception)), None) or self._attempt(
                lambda: commit(self.folder, written, shared.values, position, self.retention, self._facts)
            )
            if isinstance(outcome, Exception):
                tidy(self.folder)  # a disk that is full is not kept full
        saved = _raise(job.tell(outcome))
        assert saved is not None
        return saved

    def _attempt(self, work: Callable[[], T]) -> T | Exception:
        """What `work` gives, or what went wrong, as something that can be told to other processes."""
        try:
            return work()
        except OSError as error:
            return disk_error(self.folder, error)
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            return error if type(error).__module__ == "pipeline.errors" else RuntimeError(text)


def _raise(outcome: T | Exception) -> T:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
