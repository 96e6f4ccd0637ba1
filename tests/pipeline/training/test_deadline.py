"""The end of a job is kept, by the time that a save takes."""

from __future__ import annotations

from pipeline.training.deadline import AGAIN, MARGIN, Deadline, too_slow


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_is_near_when_two_saves_and_a_margin_are_left() -> None:
    clock = Clock()
    deadline = Deadline(lambda: 2000.0, clock)
    clock.now = 2000 - MARGIN - 2 * 30 - 1
    assert not deadline.is_near(30)
    assert deadline.is_near(31)
    clock.now += 1
    assert deadline.is_near(30)


def test_an_end_that_was_moved_is_heard_of() -> None:
    clock, ends, asked = Clock(), [2000.0, 3000.0, 3000.0], 0

    def ask() -> float:
        nonlocal asked
        asked += 1
        return ends[asked - 1]

    deadline = Deadline(ask, clock)
    clock.now = 1999
    assert not deadline.is_near(0)
    assert asked == 2
    clock.now = 2000 + AGAIN
    assert not deadline.is_near(0)
    assert asked == 2, "the end is far again: nobody is asked"


def test_a_job_without_a_limit_has_no_end() -> None:
    assert not Deadline().is_near(1e9)


def test_a_save_that_a_signal_leaves_no_time_for_is_told_of() -> None:
    assert too_slow(119) == ""
    assert "a checkpoint takes 200 s" in too_slow(200)
    assert "--signal=USR2@320" in too_slow(200)
