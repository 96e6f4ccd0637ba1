"""A wish of one process is known to all a step later, and after the same step."""

from __future__ import annotations

from pipeline.training.agreement import Agreement
from tests.distributed import on_processes


def steps_with_wishes(rank: int, world: int) -> list[tuple[bool, ...]]:
    agreement = Agreement()
    found = [agreement.now(False, rank == 1)]
    for step in range(4):
        found.append(agreement.exchange(rank == 1 and step == 1, rank == 0 and step == 2))
    agreement.close()
    agreement.close()
    return found


def test_all_processes_learn_a_wish_one_step_after_it_was_made() -> None:
    expected = [(False, True), (False, False), (False, False), (True, False), (False, True)]
    assert on_processes(steps_with_wishes, 2) == [expected] * 2


def test_a_process_alone_knows_at_once() -> None:
    agreement = Agreement()
    assert agreement.exchange(True, False) == (True, False)
    assert agreement.now(False, True) == (False, True)
    agreement.close()


def from_one_way_to_the_other(rank: int, world: int) -> list[tuple[bool, ...]]:
    agreement = Agreement()
    found = [agreement.exchange(rank == 0), agreement.exchange(rank == 0), agreement.now(rank == 1)]
    found += [agreement.now(False), agreement.exchange(rank == 1), agreement.exchange(False)]
    agreement.close()
    return found


def test_processes_that_begin_to_wait_for_one_another_stay_together() -> None:
    expected = [(False,), (True,), (True,), (False,), (False,), (True,)]
    assert on_processes(from_one_way_to_the_other, 2) == [expected] * 2
