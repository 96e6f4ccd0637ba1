"""Stopped anywhere, by a crash at each step, SIGKILL or a full disk, the same command ends with the same bytes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_shards import durable
from data_shards.durable import AppendFile
from data_shards.errors import OutputError
from data_shards.packing import folder as packing
from data_shards.packing import lease
from tests.data_shards.kill_often import pack_once
from tests.data_shards.pictures import broken_jpeg, contents, jpeg, mixed, pack_into


class Killed(BaseException):
    """Stands for SIGKILL."""


def crash_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Die at the `count`-th call that makes something durable; with 0 at none."""
    calls = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                raise Killed
            return function(*arguments)

        return call

    # The leases of a process that died must not be held by this one, which lives on.
    dead = {"host": "here", "machine": lease._me()["machine"], "pid": 1 << 30, "started": "once"}
    monkeypatch.setattr(lease, "_me", lambda: dead)
    monkeypatch.setattr(durable.os, "fsync", counted(lambda _: None))  # a crash of the program loses no written byte
    monkeypatch.setattr(durable.os, "replace", counted(os.replace))
    monkeypatch.setattr(packing.Packing, "remove", counted(packing.Packing.remove))


@pytest.mark.parametrize("images_per_slice", [100, 9])
def test_a_crash_at_any_step_and_the_same_command_give_the_same_bytes(images_per_slice: int, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"samples_per_shard": 5, "images_per_slice": images_per_slice}
    pack_into(tmp_path / "whole", mixed(24), **settings)
    expected = contents(tmp_path / "whole")
    step, finished = 1, False
    while not finished:
        out = tmp_path / f"crash{step}"
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, step)
            try:
                pack_into(out, mixed(24), **settings)
                finished = True
            except Killed:
                pass
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, 0)
            pack_into(out, mixed(24), **settings)
        assert contents(out) == expected, f"after a crash at step {step}"
        step += 1
    assert step > 40


def test_crash_after_crash_ends_with_the_same_bytes(tmp_path: Path) -> None:
    pack_into(tmp_path / "whole", mixed(), samples_per_shard=3)
    out, crashes = tmp_path / "crashed", 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, 25 + 2 * crashes)
            try:
                pack_into(out, mixed(), samples_per_shard=3)
                break
            except Killed:
                crashes += 1
    assert crashes > 2
    assert contents(out) == contents(tmp_path / "whole")


def test_a_resumed_packing_must_be_the_same_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, 20)
        with pytest.raises(Killed):
            pack_into(tmp_path, mixed(), samples_per_shard=6)
    with pytest.raises(OutputError, match=r"unfinished packing, but samples_per_shard was 6 and is now 7"):
        pack_into(tmp_path, mixed(), samples_per_shard=7)
    pack_into(tmp_path, mixed(), samples_per_shard=6, workers=3, max_bad=0.9)


def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(tmp_path: Path) -> None:
    pack_into(tmp_path / "whole", mixed(), samples_per_shard=6)
    room = 20_000
    written = 0
    extend = AppendFile.extend

    def limited(self: AppendFile, parts: list[bytes]) -> None:
        nonlocal written
        written += sum(map(len, parts))
        if written > room:
            extend(self, [parts[0][: len(parts[0]) // 2]])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        extend(self, parts)

    out = tmp_path / "full"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AppendFile, "extend", limited)
        with pytest.raises(OutputError, match="no space is left on its disk; free some and repeat the command"):
            pack_into(out, mixed(), samples_per_shard=6)
    pack_into(out, mixed(), samples_per_shard=6)
    assert contents(out) == contents(tmp_path / "whole")


def test_random_kills_change_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for n in range(400):
        folder = source / ("test" if n % 5 == 0 else "train") / f"class{n % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n:03d}.jpg").write_bytes(broken_jpeg(n) if n % 7 == 0 else jpeg(n % 350))
    pack_once(source, tmp_path / "whole")
    kills, seed = 0, 0
    while kills < 100:
        out = tmp_path / f"killed{seed}"
        command = [sys.executable, "-m", "tests.data_shards.kill_often", str(source), str(out), "30", str(seed)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        kills, seed = kills + int(run.stdout), seed + 1
        assert contents(out) == contents(tmp_path / "whole")
