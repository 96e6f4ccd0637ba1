"""A save on any number of processes has one root, and is restored on any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.checkpoints.store import latest, restore, save, verify
from pipeline.checkpoints.tensors import root_hash
from tests.distributed import on_processes
from tests.pipeline.checkpoints.trainings import sharded, state_of, trained, whole


def save_sharded(rank: int, world: int, run: Path, kind: str) -> str:
    state = state_of(sharded(world, kind))
    saved = save(run, state, step=3, consumed=48, keep=2)
    assert saved.root == root_hash(whole(state))
    return saved.root


def restore_sharded(rank: int, world: int, run: Path, kind: str) -> str:
    saved, passed_over = latest(run)
    assert saved is not None
    assert not passed_over
    training = sharded(world, kind, steps=1)
    state = state_of(training)
    restore(saved, state)
    return root_hash(whole(state))


@pytest.mark.parametrize(("world", "kind"), [(2, "fsdp"), (2, "ddp"), (4, "fsdp"), (4, "hsdp")])
def test_a_save_has_the_root_of_one_process_and_comes_back_on_others(world: int, kind: str, tmp_path: Path) -> None:
    state = state_of(trained())
    alone = save(tmp_path / "alone", state, step=3, consumed=48, keep=2)
    assert alone.root == root_hash(whole(state))
    roots = on_processes(save_sharded, world, tmp_path / "job", kind)
    assert set(roots) == {alone.root}
    saved, _ = latest(tmp_path / "job")
    assert saved is not None
    assert saved.processes == world
    assert verify(saved.path, deep=True) == []
    fresh = state_of(trained(steps=1, seed=1))
    restore(saved, fresh)
    assert root_hash(whole(fresh)) == alone.root
    assert set(on_processes(restore_sharded, world, tmp_path / "alone", kind)) == {alone.root}
