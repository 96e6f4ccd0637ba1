"""A run stops where skipping has become the rule, and nothing is saved that is not numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import TrainingError
from pipeline.runs import Run
from pipeline.training.soundness import is_sound, require_progress
from tests.distributed import on_processes

GOOD = torch.tensor(1.0)


def network(value: float) -> nn.Linear:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight[0, 1] = value
    return layer


@pytest.mark.parametrize(
    ("weight", "loss", "sound"),
    [(1.0, 1.0, True), (1e30, 1.0, True), (math.inf, 1.0, False), (math.nan, 1.0, False), (1.0, math.nan, False)],
)
def test_a_weight_or_a_loss_that_is_no_number_is_found_and_a_large_one_is_not(
    weight: float, loss: float, sound: bool
) -> None:
    assert is_sound(network(weight), torch.tensor(loss)) is sound


def on_one_process(rank: int, world: int) -> list[bool]:
    return [is_sound(network(math.nan if rank == 1 else 1.0), GOOD), is_sound(network(1.0), GOOD)]


def test_all_processes_find_what_one_has() -> None:
    assert on_processes(on_one_process, 2) == [[False, True], [False, True]]


def test_a_run_stops_after_so_many_skipped_steps_in_a_row_and_at_an_end_without_a_loss(tmp_path: Path) -> None:
    run = Run(tmp_path, "", writes=True)
    require_progress(math.nan, 2, 3, step=7, last=False, run=run)
    require_progress(1.0, 2, 3, step=7, last=True, run=run)
    with pytest.raises(TrainingError, match="the last 3 steps had a gradient that is no number, and the loss"):
        require_progress(math.nan, 3, 3, step=7, last=False, run=run)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 7; lower optimizer.rate .* is kept"):
        require_progress(math.nan, 2, 3, step=7, last=True, run=run)
