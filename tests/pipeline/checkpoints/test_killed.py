"""Stopped anywhere in a save, by a crash at each step, SIGKILL or a full disk, what was there is intact."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.checkpoints.store import FOLDER, Position, Retention, Saver
from pipeline.errors import RunError
from tests.pipeline.checkpoints.save_often import FILLER, intact, position, state

KILLS = 30
KEEP = Retention(last=2, every=4)


class Killed(BaseException):
    """Stands for SIGKILL."""


@contextmanager
def crash_at(count: int) -> Iterator[list[str]]:
    """Die at the `count`-th call that changes the disk; gives the names of those before."""
    calls: list[str] = []

    def counted(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == count:
                raise Killed
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "write"):
            patch.setattr(os, name, counted(getattr(os, name), name))
        yield calls


def save(run: Path, step: int) -> None:
    saver = Saver(run, KEEP)
    saver.save(state(step), position(step), wait=True)
    saver.close()


def test_a_crash_at_any_change_of_the_disk_leaves_the_old_or_the_new_checkpoint(tmp_path: Path) -> None:
    before = tmp_path / "before"
    for step in (3, 4, 5):  # 3 has gone, 4 stays for good
        save(before, step)
    count, finished, seen, kinds = 1, False, set(), []
    while not finished:
        run = tmp_path / "run"
        shutil.copytree(before, run)
        with crash_at(count) as calls:
            try:
                save(run, 6)
                save(run, 7)  # takes 5 away
                finished = True
            except Killed:
                pass
        kinds = calls
        seen.add(intact(run, {5, 6, 7}))
        save(run, 8)
        assert intact(run, {8}) == 8
        left = sorted(path.name for path in (run / FOLDER).iterdir())
        previous = 7 if "step-000000007" in left else 6 if "step-000000006" in left else 5
        expected = {"latest", "step-000000004", f"step-{previous:09d}", "step-000000008"}
        assert set(left) == expected, f"after a crash at call {count}"
        shutil.rmtree(run)
        count += 1
    assert seen == {5, 6, 7}
    assert count > 25
    assert {"fsync", "replace", "mkdir", "rmdir", "unlink", "write"} <= set(kinds)


@pytest.mark.slow
def test_a_process_killed_again_and_again_while_it_saves_loses_nothing_that_it_had_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.pipeline.checkpoints.save_often", str(tmp_path), str(KILLS), "0"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= KILLS


def small_disk(tmp_path: Path, size: str) -> Path:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a small disk")
    return disk


def test_a_disk_that_fills_up_during_a_save_stops_training_with_the_last_checkpoint_intact(tmp_path: Path) -> None:
    disk = small_disk(tmp_path, "1m")
    try:
        save(disk, 1)
        saver = Saver(disk, KEEP)
        with pytest.MonkeyPatch.context() as patch:
            free = shutil.disk_usage(disk)
            patch.setattr(shutil, "disk_usage", lambda _: free)  # measured before another one fills it
            (disk / "other").write_bytes(bytes(free.free - FILLER // 2))
            saver.save(state(2), position(2))
            with pytest.raises(RunError, match="no space is left on the disk; free some"):
                saver.finish()
            assert intact(disk, {1}) == 1
            assert not list((disk / FOLDER).glob(".*")), "the full disk is not kept full"
        (disk / "other").unlink()
        saver.save(state(3), position(3), wait=True)
        saver.close()
        assert intact(disk, {3}) == 3
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_error_in_the_background_is_raised_at_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Saver(tmp_path, KEEP)
    saver.save(state(1), position(1), wait=True)
    fsync = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    saver.save(state(2), position(2))
    while saver.is_saving:
        time.sleep(0.001)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RunError, match="no space is left on the disk"):
        saver.check()
    saver.check()  # once
    saver.save(state(3), Position(step=3, consumed=3), wait=True)
    saver.close()
    assert intact(tmp_path, {3}) == 3
