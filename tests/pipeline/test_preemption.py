"""Signals that tell a process to stop: a flag while it trains, and the way out when nothing can be lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from pipeline import preemption
from pipeline.preemption import Preempted, deferred, heed, told


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(preemption, "_flag", preemption._Flag())
    before = {number: signal.getsignal(number) for number in preemption.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("early", [False, True])
def test_while_it_trains_signals_only_set_a_flag_and_the_first_one_counts(early: bool) -> None:
    heed(deferred=early)
    if early:
        send(signal.SIGTERM)
    done: list[signal.Signals | None] = []

    def train() -> None:
        with deferred():
            send(signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM)
            done.append(told())

    with pytest.raises(Preempted, match="told to stop by SIGTERM"):
        train()
    assert done == [signal.SIGTERM]


def test_afterwards_a_signal_leaves_at_once_and_only_once() -> None:
    heed(deferred=True)
    with deferred():
        pass
    assert told() is None
    with pytest.raises(Preempted, match="SIGUSR2"):
        send(signal.SIGUSR2)
    send(signal.SIGUSR2, signal.SIGTERM)  # on the way out


def test_an_error_of_training_is_raised_as_it_is() -> None:
    heed(deferred=True)

    def fail() -> None:
        with deferred():
            send(signal.SIGUSR2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_no_except_exception_swallows_it() -> None:
    assert not issubclass(Preempted, Exception)
