"""Which process of a job this is, from the environment that torchrun or SLURM set; and how a job of several starts.

Reading the rank needs no torch. Several processes on this machine are started here, with the variables that torchrun
would set, and the rest is stopped when one fails; on a cluster `srun` has started them already.

torchrun itself will do too (`torchrun -m pipeline ...`). It hands SIGTERM on to the processes, which save and leave
with 75, but then it leaves with 1 and a traceback of its own, and a SIGUSR2 ends it and not them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from pipeline.errors import RunError
from pipeline.preemption import SIGNALS, told

PREEMPTED = 75
"""Exit status of a process that was asked to stop, has saved what it did, and is to be started again (EX_TEMPFAIL)."""


def rank() -> int:
    """Number of this process in the job, from 0."""
    return int(os.environ["SLURM_PROCID"] if under_srun() else os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes in the job."""
    return int(os.environ["SLURM_NTASKS"] if under_srun() else os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Number of this process on its machine, from 0."""
    return int(os.environ.get("SLURM_LOCALID" if under_srun() else "LOCAL_RANK", "0"))


def local_world_size() -> int | None:
    """Number of processes on this machine where torchrun or `start` has; None where `srun` has."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if "RANK" in os.environ and "LOCAL_WORLD_SIZE" in os.environ else None


def is_first() -> bool:
    """Whether this process writes what the job writes once."""
    return rank() == 0


def is_started() -> bool:
    """Whether something outside has started the processes of this job."""
    return "RANK" in os.environ or under_srun()


@contextlib.contextmanager
def told_apart(what: str, cure: str) -> Iterator[None]:
    """A process that has gone is no defect of the one that waits for it in a collective: that raises `RunError`."""
    try:
        yield
    except RuntimeError as error:
        raise RunError("the job", what, cure) from error


def start(arguments: Sequence[str], processes: int) -> int:
    """Run `python -m pipeline ARGUMENTS` as a job of several processes on this machine.

    Gives the exit status: 0, or that of the process that ended badly first, upon which the others are stopped. Each
    process gets its share of the cores for torch's own threads. Signals that tell it to stop are handed on to all.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "TORCHELASTIC_RUN_ID": "here",  # by which Lightning knows that it need not start processes
    }
    job: list[subprocess.Popen[bytes]] = []
    with _handed_on(job), contextlib.ExitStack() as stack:
        for number in map(str, range(processes)):
            own = {**environment, "RANK": number, "LOCAL_RANK": number}
            command = [sys.executable, "-m", "pipeline", *arguments]
            job.append(stack.enter_context(subprocess.Popen(command, env=own, preexec_fn=_end_with_parent)))
        if (before := told()) is not None:
            _send(job, before)
        return _wait(job)


def _end_with_parent() -> None:
    """Have Linux kill this process when the one that started it has died: else it would hold the run directory."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_PR_SET_PDEATHSIG = 1
STOPPING = 30.0
"""Seconds that processes have to leave after one has ended badly; as torchrun gives them."""


def _wait(job: Sequence[subprocess.Popen[bytes]]) -> int:
    """The status of the first process that ended badly, or 0, once all have ended."""
    first, deadline = 0, float("inf")
    while any(process.poll() is None for process in job):
        bad = [process.returncode for process in job if process.returncode]
        if bad and not first:
            first, deadline = bad[0], time.monotonic() + STOPPING
            _send(job, signal.SIGTERM)
        if time.monotonic() > deadline:
            _send(job, signal.SIGKILL)
        time.sleep(0.05)
    first = first or next((process.returncode for process in job if process.returncode), 0)
    return first if first >= 0 else 128 - first


@contextlib.contextmanager
def _handed_on(job: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Hand signals that tell this process to stop on to the processes of the job."""

    came: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        came.append(number)
        _send(job, signal.Signals(number))

    before = {number: signal.signal(number, hand_on) for number in SIGNALS}
    try:
        yield
    except KeyboardInterrupt:  # which the terminal has sent to all
        _wait(job)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for first in came[:1]:
        if callable(handler := before[signal.Signals(first)]):
            handler(first, None)  # this process was told as well


def _send(job: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in job:
        if process.poll() is None:
            process.send_signal(number)


def _free_port() -> int:
    """A port below 32768, where Linux begins to hand them out: it stays free until the first process listens."""
    while True:
        port = random.SystemRandom().randrange(20000, 32768)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def under_srun() -> bool:
    """Whether `srun` started this process; torchrun inside a SLURM job sets RANK and is not meant."""
    return "SLURM_PROCID" in os.environ and "SLURM_STEP_ID" in os.environ and "RANK" not in os.environ
