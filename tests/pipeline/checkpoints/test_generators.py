"""Random generators go on after a restore as if nothing had been."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from pipeline.checkpoints import generators
from pipeline.checkpoints.store import latest, restore, save
from tests.distributed import on_processes
from tests.pipeline.checkpoints.trainings import state_of, trained


def drawn() -> list[float]:
    return [*torch.rand(3).tolist(), *np.random.rand(3).tolist(), np.random.randn(), random.random(), random.gauss()]


def test_all_four_go_on_where_they_stood() -> None:
    drawn()
    kept = generators.states()
    expected = drawn()
    drawn()
    generators.set_states(kept)
    assert drawn() == expected


def seeded_save(rank: int, world: int, run: Path) -> list[float]:
    state = state_of(trained())
    generators.seed_from("any", rank)
    save(run, state, step=3, consumed=48, keep=2)
    return drawn()


def restored(rank: int, world: int, run: Path) -> list[float]:
    saved, _ = latest(run)
    assert saved is not None
    restore(saved, state_of(trained()))
    return drawn()


def test_each_process_gets_its_own_back_and_others_get_new_ones(tmp_path: Path) -> None:
    before = on_processes(seeded_save, 2, tmp_path)
    assert before[0] != before[1]
    assert on_processes(restored, 2, tmp_path) == before
    more = [tuple(draws) for draws in on_processes(restored, 4, tmp_path)]
    assert len(set(more)) == 4
    assert not set(more) & {tuple(draws) for draws in before}
    assert [tuple(draws) for draws in on_processes(restored, 4, tmp_path)] == more
