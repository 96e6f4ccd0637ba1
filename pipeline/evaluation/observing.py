"""A process of its own that says how good a backbone's features are, while the training that hands them over goes on.

    gets    a Task; then (step, file of tensors) again and again
    gives   a Found for each

Through a pipe, at the other end of which is training/observer.py, which starts it.

Beside training it takes what the processors have left: the lowest priority there is, and one thread. (A second *thread*
of training's own process that enters torch would halve the speed of every step: each gets an OpenMP pool, and these
fight.) It takes no GPU, dies first where memory is short, leaves signals to training, and ends when the other end of
the pipe is closed, however training ended. Torch is imported after all that.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.preemption import SIGNALS

if TYPE_CHECKING:
    from data_shards.reading.cache import CacheSettings
    from pipeline.evaluation.features import Features
    from pipeline.models.regnet import RegNet
    from pipeline.views import Evaluation

BANK, QUERY = 2000, 1000
"""Samples whose labels are known and samples asked about: enough for a curve, not for a table."""
BATCH = 32
"""Images at once: no more memory than that takes."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is measured of every backbone."""

    model: RegNet.Config
    view: Evaluation.Config
    """How a picture is shown."""
    bank: tuple[str, str]
    """Where the shards of known labels are, and their split."""
    query: tuple[str, str]
    """Those asked about."""
    cache: CacheSettings


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of the backbone of a step, or why nothing was."""

    step: int
    knn: float = 0.0
    """Share of the samples asked about that the nearest neighbours tell right."""
    error: str = ""


class Observing:
    """The work itself: a backbone's tensors in, a share out."""

    def __init__(self, task: Task) -> None:
        from data_shards.stream import ShardSet

        self._task = task
        self._backbone = task.model.build()
        self._sets = [ShardSet(where, split, cache=task.cache) for where, split in (task.bank, task.query)]

    def measure(self, tensors: Path) -> float:
        """kNN accuracy of the backbone whose tensors are in a safetensors file."""
        from safetensors.torch import load_file

        from pipeline.evaluation.search.knn import KNN

        self._backbone.load_state_dict(load_file(tensors))
        bank, query = (self._features(shard_set, n) for shard_set, n in zip(self._sets, (BANK, QUERY), strict=True))
        return KNN.Config().build().accuracy(bank, query)

    def _features(self, shard_set: Any, count: int) -> Features:
        from data_shards.ledger import Ledger
        from data_shards.loader import Loader
        from pipeline.evaluation.features import extract

        chosen = shard_set.spread(count)
        # Too many bad samples are the loader's of training to report, with the share that the recipe allows.
        ledger, transform = Ledger(max_rate=1), self._task.view.build()
        with Loader(shard_set, transform, batch=BATCH, shuffle=False, subset=chosen, ledger=ledger) as loader:
            return extract(self._backbone, loader)


def serve(descriptor: int, *, beside: bool) -> None:
    """Answer what comes through the pipe until it is closed. `beside`: training is at work on this machine."""
    for number in (*SIGNALS, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if beside:
        _step_back()
    pipe = Connection(descriptor)
    asked: queue.SimpleQueue[tuple[int, Path]] = queue.SimpleQueue()
    task = pipe.recv_bytes()
    threading.Thread(target=_listen, args=(pipe, asked), daemon=True).start()
    observing = Observing(pickle.loads(task))  # imports torch: seconds, in which the other end may be closed
    while True:
        step, tensors = asked.get()
        found = _answer(observing, step, tensors)
        with contextlib.suppress(OSError):
            pipe.send(found)


def _answer(observing: Observing, step: int, tensors: Path) -> Found:
    began = time.perf_counter()
    try:
        found = Found(step=step, knn=observing.measure(tensors))
    except Exception as error:
        traceback.print_exc()
        return Found(step=step, error=" ".join(str(error).split()) or type(error).__name__)
    print(f"step {step}: kNN accuracy {found.knn:.4f}, in {time.perf_counter() - began:.1f} s", flush=True)
    return found


def _listen(pipe: Connection, asked: queue.SimpleQueue[tuple[int, Path]]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            asked.put(pipe.recv())
    os._exit(0)  # whatever the other thread is at


def _step_back() -> None:
    """Let everything else on this machine go first. There is no way back for who is not root."""
    os.nice(19)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
