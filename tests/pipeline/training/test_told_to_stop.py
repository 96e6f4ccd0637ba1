"""Told to stop, a training saves what it has done and leaves with 75; the same command goes on there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import goodput
from pipeline.checkpoints.store import latest
from pipeline.training.deadline import MARGIN
from tests.commands import Done, started

PREEMPTED = 75


def recorded(out: Path) -> list[int]:
    if not (out / "metrics.jsonl").exists():
        return []
    lines = (out / "metrics.jsonl").read_text().splitlines(keepends=True)
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record["step"] for record in records if "loss" in record]


def words(chain: tuple[Path, Done], recipes: Path, out: Path, *more: str) -> list[str]:
    own = ("trainer.duration=40 steps", "trainer.checkpoint_every=auto", "trainer.watch_every=0 steps")
    return ["pretrain", str(recipes / "pretrain.yaml"), f"shards={chain[0] / 'shard'}", f"out={out}", *own, *more]


def told(process: subprocess.Popen[str], ready: Callable[[], bool], *signals: signal.Signals) -> Done:
    """Send signals to a process, and to no other, once it is ready for them."""
    deadline = time.monotonic() + 200
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    for number in signals:
        if process.poll() is None:
            os.kill(process.pid, number)
            time.sleep(0.01)
    output, errors = process.communicate(timeout=200)
    return Done(process.returncode, output, errors)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_it_saves_the_step_that_it_is_at_and_the_same_command_goes_on_from_there(
    devices: int, chain: tuple[Path, Done], recipes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = words(chain, recipes, out, f"trainer.devices={devices}")
    first = told(started(*command), lambda: len(recorded(out)) >= 4, signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR2)
    assert first.status == PREEMPTED, first.errors
    saved, _ = latest(out)
    assert saved is not None
    assert 4 <= saved.step < 40
    assert recorded(out) == list(range(1, saved.step + 1))
    lines = [line for line in first.errors.splitlines() if not line.startswith("pretrain: ")]
    said = f"preempted: told to stop by SIGUSR2; step {saved.step} of 40 is saved; the same command goes on from there"
    assert lines == [said], "and no traceback"
    if devices > 1:
        return
    with started(*command) as process:
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert f"going on from step {saved.step} of 40" in output
    assert recorded(out) == list(range(1, 41))
    one, two = goodput.read(out)
    assert (one.end, one.begin, one.step) == ("preempted", 0, saved.step)
    assert (two.end, two.begin, two.step) == ("done", saved.step, 40)
    assert one.lost == two.lost == one.queue == 0
    assert 0 < one.checkpoint < one.elapsed
    assert one.start_up > 0.1


@pytest.mark.slow
def test_a_signal_while_it_starts_is_heeded_before_the_first_step(
    chain: tuple[Path, Done], recipes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = started(*words(chain, recipes, out))
    handled = Path(f"/proc/{process.pid}/status")
    done = told(process, lambda: caught(handled, signal.SIGUSR2), signal.SIGUSR2)
    assert done.status == PREEMPTED, done.errors
    assert "preempted: told to stop by SIGUSR2; step 0 of 40 is the beginning" in done.errors
    assert recorded(out) == []
    assert latest(out) == (None, [])


@pytest.mark.slow
def test_before_the_job_s_time_is_up_it_stops_by_itself(
    chain: tuple[Path, Done], recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, scontrol = tmp_path / "run", tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    ends = f'$(date -d "+{MARGIN + 4:.0f} seconds" +%FT%T)'
    facts = f"JobId=7 SubmitTime=2026-01-01T00:00:00 StartTime=2026-01-01T00:01:30 EndTime={ends}"
    scontrol.write_text(f"#!/bin/sh\necho {facts}\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    done = told(started(*words(chain, recipes, out, "trainer.duration=100k steps")), lambda: False)
    assert done.status == PREEMPTED, done.errors
    saved, _ = latest(out)
    where = f"step {saved.step} of 100000 is saved" if saved else "step 0 of 100000 is the beginning"  # a busy machine
    assert f"preempted: the job's time is nearly up; {where}" in done.errors
    assert goodput.read(out)[0].queue == 90


def caught(status: Path, number: signal.Signals) -> bool:
    """Whether a process has set a handler."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
