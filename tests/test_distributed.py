"""The helper that runs functions on several processes must not hide their failures."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from tests.distributed import on_processes


def summed(rank: int, world: int, value: int) -> tuple[int, int]:
    total = torch.tensor(rank + value)
    dist.all_reduce(total)
    return world, int(total)


def failing_on_one(rank: int, world: int) -> None:
    if rank == 1:
        raise ZeroDivisionError("one of us")
    dist.barrier()


def test_every_rank_takes_part_and_gives_its_result() -> None:
    assert on_processes(summed, 2, 10) == [(2, 21), (2, 21)]


def test_an_error_on_one_process_is_raised_here_and_the_next_call_starts_afresh() -> None:
    with pytest.raises(AssertionError, match=r"rank 1 raised(.|\n)*one of us"):
        on_processes(failing_on_one, 2)
    assert on_processes(summed, 2, 0) == [(2, 1), (2, 1)]
