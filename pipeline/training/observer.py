"""Training's end of the process that measures beside it (evaluation/observing.py): what is handed over, and what waits.

    RUN/.watch/000000300.safetensors    the backbone of step 300: waiting, or being measured
    RUN/watch.log                       what that process says

They are measured in order, each once; there are `MOST` at most. With the default of a measurement at every quarter that
is all of them, so a training whose machine has nothing to spare loses none, but measures most of them when it is over.
Where more come, the oldest goes, but not the untrained one: the newest says how training goes, the first from where.

A file stays until its figure is recorded, so a training that is killed or told to stop measures it in its next start.
Nothing that happens to that process, or to a file, stops training: it is said, and there is a figure less.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path

from torch import Tensor

import pipeline
from pipeline.checkpoints.snapshot import write_snapshot
from pipeline.evaluation.observing import Found, Task

FOLDER, LOG = ".watch", "watch.log"
MOST = 5
BYTES = 16 << 30
"""Most bytes that they may have together; one may wait however large it is."""
TRIES = 3
"""Ends of the process after which it is not started again."""
COMMAND = (
    *(sys.executable, "-c"),
    "import sys; from pipeline.evaluation.observing import serve; serve(int(sys.argv[1]), beside='beside' in sys.argv)",
)
_SUFFIX = ".safetensors"


class Observer:
    """Has backbones measured; the first process of a job has one. `poll` costs nothing where there is nothing new."""

    def __init__(self, run: Path, task: Task, *, command: Sequence[str] = COMMAND) -> None:
        self.folder, self.log, self.task = run / FOLDER, run / LOG, task
        self.beside = True
        """Whether training is at work."""
        self.waiting: list[Path] = []
        self._command = command
        self._at_work: Path | None = None
        self._handed: set[int] = set()
        self._written: queue.SimpleQueue[Path | OSError] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._ends = 0

    def take_up(self, step: int, known: Collection[int]) -> None:
        """Go on with what an earlier start left, up to the step that is gone on from. `known` are recorded already."""
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            of = _step(path)
            if of is None or of > step or of in known:
                path.unlink(missing_ok=True)
            else:
                self.waiting.append(path)
                self._handed.add(of)
        self._handed |= set(known)

    def hand_over(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Have these tensors measured: contiguous, on the CPU, and nobody's but the observer's from now on."""
        if self.has_given_up or step in self._handed:
            return
        self._finish_writing()
        self._handed.add(step)
        path = self.folder / f"{step:09d}{_SUFFIX}"
        self._writer = threading.Thread(target=self._write, args=(path, tensors), name="watch", daemon=True)
        self._writer.start()

    def poll(self) -> list[Found]:
        """What was found since the last call. `done` is to be called of each, once it is recorded."""
        found: list[Found] = []
        self._take_written()
        try:
            while self._pipe is not None and self._pipe.poll():
                found.append(self._pipe.recv())
                self._at_work = None
        except (EOFError, OSError):
            self._lost()
        self._give()
        for failed in filter(lambda one: one.error, found):
            self._say(f"kNN accuracy of step {failed.step} is not known: {failed.error}")
            self.done(failed.step)
        return [one for one in found if not one.error]

    def done(self, step: int) -> None:
        """The figure of a step is safe, or will never be."""
        (self.folder / f"{step:09d}{_SUFFIX}").unlink(missing_ok=True)

    def wait(self, seconds: float, stop: Callable[[], bool]) -> Iterator[Found]:
        """Training is over: what is found until nothing is left, time is up, or `stop` says so.

        The process at work has the lowest priority, for good, so another one takes its place.
        """
        until = time.monotonic() + seconds
        self._finish_writing()
        yield from self.poll()
        self._end()
        self.beside = False
        while True:
            yield from self.poll()
            if not self.is_busy or stop() or time.monotonic() > until:
                return
            if self._pipe is not None:
                wait([self._pipe], 0.2)

    @property
    def is_busy(self) -> bool:
        """Whether something waits or is at work."""
        return self._at_work is not None or bool(self.waiting) or not self._written.empty()

    @property
    def has_given_up(self) -> bool:
        """Whether its process has ended too often."""
        return self._ends >= TRIES

    def close(self, *, keep: bool = True) -> None:
        """End the process. What waits is kept for the next start, or not."""
        self._finish_writing()
        self._end()
        self.waiting.clear()
        if keep:
            with contextlib.suppress(OSError):  # it is not empty, or was never made
                self.folder.rmdir()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            write_snapshot(path, tensors)
            self._written.put(path)
        except OSError as error:
            self._written.put(error)

    def _finish_writing(self) -> None:
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _take_written(self) -> None:
        """What was written waits now, and the oldest goes where too much does."""
        with contextlib.suppress(queue.Empty):
            while True:
                written = self._written.get_nowait()
                if isinstance(written, OSError):
                    self._say(f"kNN accuracy of a step is not known: its weights were not written ({written})")
                else:
                    self.waiting.append(written)
        most = MOST - (self._at_work is not None)
        while len(self.waiting) > most or (len(self.waiting) > 1 and sum(map(_bytes, self.waiting)) > BYTES):
            untrained = len(self.waiting) > 2 and _step(self.waiting[0]) == 0
            self.waiting.pop(int(untrained)).unlink(missing_ok=True)

    def _give(self) -> None:
        """Give the process the next one, where it has none; start it where there is none."""
        if self._at_work is not None or not self.waiting or self.has_given_up:
            return
        try:
            if self._pipe is None:
                self._start()
            assert self._pipe is not None
            self._at_work = self.waiting.pop(0)
            self._pipe.send((_step(self._at_work), self._at_work.absolute()))
        except OSError:
            self._lost()

    def _start(self) -> None:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        here = str(Path(pipeline.__file__).parents[1])
        own = {
            "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
            "OMP_NUM_THREADS": "1" if self.beside else str(cores),
            "CUDA_VISIBLE_DEVICES": "",
        }
        ours, theirs = Pipe()
        with theirs, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno()), "beside" if self.beside else "alone"],
                env={**os.environ, **own},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._pipe = ours
        ours.send(self.task)

    def _lost(self) -> None:
        """The process has ended by itself."""
        self._end()
        self._ends += 1
        then = f"has ended {TRIES} times and is not started again" if self.has_given_up else "is started again"
        self._say(f"the process that measures kNN accuracy {then}; {self.log} says why")
        if self.has_given_up:
            for path in self.waiting:
                path.unlink(missing_ok=True)
            self.waiting.clear()

    def _end(self) -> None:
        """End the process; what it was at is the next one's first."""
        if self._at_work is not None:
            self.waiting.insert(0, self._at_work)
            self._at_work = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()  # it leaves nothing half done
            process.wait()

    def _say(self, text: str) -> None:
        print(f"warning: {text}", flush=True)


def _step(path: Path) -> int | None:
    """None for what is no file of a step, such as one cut short by a kill."""
    number = path.name.removesuffix(_SUFFIX)
    return int(number) if number.isdecimal() and number != path.name else None


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
