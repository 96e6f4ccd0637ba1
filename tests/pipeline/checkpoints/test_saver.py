"""A save on any number of processes has one root, and is restored on any other."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from pipeline.checkpoints import saver as saving
from pipeline.checkpoints import verify as verifying
from pipeline.checkpoints.manifest import directories
from pipeline.checkpoints.store import Position, Retention, Saver, latest, restore, save, verify
from pipeline.checkpoints.tensors import root_hash
from pipeline.errors import RunError
from tests.distributed import on_processes
from tests.pipeline.checkpoints.trainings import sharded, state_of, step, trained, whole


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


def test_training_goes_on_and_the_state_is_that_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, write_part = threading.Event(), saving.write_part

    def held(*arguments: Any) -> Any:
        assert gate.wait(60)
        return write_part(*arguments)

    monkeypatch.setattr(saving, "write_part", held)
    training, saver = trained(), Saver(tmp_path)
    before = root_hash(whole(state_of(training)))
    saver.save(state_of(training), Position(step=3, consumed=48))
    for _ in range(3):
        step(training)
        saver.check()
    assert saver.is_saving
    assert latest(tmp_path) == (None, [])
    gate.set()
    saver.finish()
    assert saver.newest is not None
    assert saver.newest.root == before != root_hash(whole(state_of(training)))
    assert latest(tmp_path)[0] == saver.newest
    saver.close()


def test_a_second_save_waits_for_the_first_and_uses_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, buffers, write_part = 0, 0, set(), saving.write_part

    def counted(path: Path, pieces: Any, buffer: torch.Tensor, metadata: Any) -> Any:
        nonlocal at_work, most
        at_work, most = at_work + 1, max(most, at_work + 1)
        buffers.add(buffer.data_ptr())
        time.sleep(0.02)
        at_work -= 1
        return write_part(path, pieces, buffer, metadata)

    monkeypatch.setattr(saving, "write_part", counted)
    training, saver = trained(), Saver(tmp_path, Retention(last=9))
    roots = []
    for number in range(4, 8):
        step(training)
        saver.save(state_of(training), Position(step=number, consumed=number))
        roots.append(root_hash(whole(state_of(training))))
    saver.close()
    assert most == 1
    assert len(buffers) == 1
    assert [json.loads((p / "manifest.json").read_text())["root"] for p in reversed(directories(saver.folder))] == roots


def fail_on_one(rank: int, world: int, run: Path) -> list[str]:
    """Process 1 meets a full disk in the second save."""
    saver, says = Saver(run), []
    state = state_of(sharded(world, "fsdp"))
    saver.save(state, Position(step=1, consumed=16), wait=True)
    fsync = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full if rank == 1 else fsync)
        saver.save(state, Position(step=2, consumed=32))
        dist.barrier()  # training's own collectives, meanwhile
        try:
            saver.finish()
        except RunError as error:
            says.append(str(error))
    saver.save(state, Position(step=3, consumed=48))
    saver.close()
    assert saver.newest is not None
    return [*says, saver.newest.path.name]


def test_a_disk_that_is_full_for_one_process_is_told_to_all_and_the_next_save_is_whole(tmp_path: Path) -> None:
    says = on_processes(fail_on_one, 2, tmp_path)
    assert says[0] == says[1]
    assert "no space is left on the disk" in says[0][0]
    assert says[0][1] == "step-000000003"
    assert [path.name for path in directories(tmp_path / "checkpoints")] == ["step-000000003", "step-000000001"]


def see_damage(rank: int, world: int, run: Path) -> tuple[int, list[str], int]:
    """What `latest` says, and how many files this process has looked into."""
    looked = 0
    look = verifying._sha256

    def counted(path: Path) -> Any:
        nonlocal looked
        looked += 1
        return look(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verifying, "_sha256", counted)
        found, passed_over = latest(run)
    return found.step if found else 0, passed_over, looked


def test_processes_share_the_files_that_are_verified_and_agree(tmp_path: Path) -> None:
    on_processes(save_sharded, 4, tmp_path, "fsdp")
    seen = on_processes(see_damage, 2, tmp_path)
    assert [(step, passed_over) for step, passed_over, _ in seen] == [(3, []), (3, [])]
    assert [looked for _, _, looked in seen] == [3, 2], "five files"
    (tmp_path / "checkpoints" / "step-000000003" / "tensors.json").write_text("")
    seen = on_processes(see_damage, 2, tmp_path)
    assert seen[0][:2] == seen[1][:2]
    assert seen[0][0] == 0
    assert "step-000000003 is damaged (tensors.json has changed" in seen[0][1][0]


def left_alone(rank: int, world: int, run: Path) -> str:
    """Process 1 leaves before the save, as one does that has died."""
    saver = Saver(run)
    state = state_of(sharded(world, "fsdp"))
    if rank == 1:
        saver.job.close()
        return ""
    saver.save(state, Position(step=1, consumed=16))
    try:
        saver.finish()
    except RunError as error:
        return str(error)
    return "no error"


def test_a_process_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    says, _ = on_processes(left_alone, 2, tmp_path)
    assert "another process stopped while they worked on a checkpoint" in says
    assert latest(tmp_path) == (None, [])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_state_on_a_gpu_is_that_of_the_step_and_staged_in_pinned_memory(tmp_path: Path) -> None:
    weights = torch.randn(1000, 1000, device="cuda")
    root, saver = root_hash({"objective.weight": weights}), Saver(tmp_path)
    saver.save({"objective": {"weight": weights}, "optimizer": {}}, Position(step=1, consumed=1))
    weights.zero_()
    saver.finish()
    assert saver.newest is not None
    assert saver.newest.root == root
    assert saver._staging._buffer is not None
    assert saver._staging._buffer.is_pinned()
    restore(saver.newest, {"objective": {"weight": weights}, "optimizer": {}})
    assert root_hash({"objective.weight": weights}) == root
    saver.close()
