"""How work is shared: every item once, in order; and settings that mean nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RunError
from pipeline.evaluation.compute import Compute, Processes, Team, together
from tests.distributed import on_processes


@given(count=st.integers(0, 5000), world=st.integers(1, 9), block=st.sampled_from([1, 7, 1024]))
def test_shares_are_all_of_it_in_order_and_begin_with_a_block(count: int, world: int, block: int) -> None:
    team, shares = Team(), []
    for team.rank in range(world):
        team.world = world
        shares.append(team.share(count, block))
    assert [item for share in shares for item in share] == list(range(count))
    assert all(share.start % block == 0 for share in shares if share)
    blocks = [-(-len(share) // block) for share in shares]
    assert max(blocks) - min(blocks) <= 1


def met(rank: int, world: int) -> tuple[int, list[int], list[str]]:
    with together() as team:
        mine = torch.tensor([rank, 1])
        summed = team.sum(mine)
        assert mine.tolist() == [rank, 1], "what is given stays as it was"
        return team.rank, summed.tolist(), team.gather(f"process {rank}")


def test_processes_add_up_and_hear_of_one_another() -> None:
    assert on_processes(met, 2) == [(rank, [1, 2], ["process 0", "process 1"]) for rank in range(2)]
    assert met(0, 1) == (0, [0, 1], ["process 0"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"devices": 0}, "devices must"),
        ({"batch": 0}, "batch must"),
        ({"precision": "fp16", "accelerator": "cpu"}, "GPUs"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Compute(**change)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    assert Compute().device().type == "cpu"
    with pytest.raises(RunError, match=r"compute.accelerator: is cuda, and this machine has no GPU"):
        Processes(accelerator="cuda").device()
    with pytest.raises(RunError, match=r"compute.precision: is fp16, and this machine has no GPU"):
        Compute(precision="fp16").device()
