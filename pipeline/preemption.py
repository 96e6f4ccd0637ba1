"""Told to stop: a signal sets a flag, and training looks at it where it can leave without losing anything.

    SIGUSR2, SIGTERM    the flag. More of them, during the save or after it, change nothing
    SIGINT, Ctrl-C      stops at once, as ever; the checkpoint at work is finished
    SIGKILL             nobody is asked: the next start goes on from the newest checkpoint that verifies

While a stage trains, and before, the flag is all (`deferred`). Afterwards, when everything is saved, a signal leaves at
once. Handlers are set before torch is imported, which takes seconds; before that a signal ends the process, which has
done nothing. Who leaves by `Preempted` exits with status 75: start me again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
"""What SLURM sends before a time limit and at a preemption (USR2, where asked), and what ends a process politely."""


class Preempted(BaseException):
    """The process was told to stop, and all it did is saved. No `except Exception` is to swallow it."""


class _Flag:
    told: signal.Signals | None = None
    deferred = False
    leaving = False


_flag = _Flag()


def heed(*, deferred: bool) -> None:
    """Set the handlers, for the rest of the process. With `deferred` they only set the flag, until training is over."""
    _flag.deferred = deferred
    for number in SIGNALS:
        signal.signal(number, _tell)


def told() -> signal.Signals | None:
    """The first signal that told this process to stop."""
    return _flag.told


@contextmanager
def deferred() -> Iterator[None]:
    """Within, a signal only sets the flag; at the end, `Preempted` is raised where it is set.

    An error from within is raised as it is.
    """
    _flag.deferred = True
    yield
    _flag.deferred = False
    if _flag.told is not None:
        _leave()


def _tell(number: int, frame: FrameType | None) -> None:
    if _flag.told is None:
        _flag.told = signal.Signals(number)
    if not _flag.deferred:
        _leave()


def _leave() -> None:
    """Raise `Preempted`, once: what runs on its way out is not to be disturbed."""
    if not _flag.leaving and threading.current_thread() is threading.main_thread():
        _flag.leaving = True
        assert _flag.told is not None
        raise Preempted(f"told to stop by {_flag.told.name}; what was done is saved")
