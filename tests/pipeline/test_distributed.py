"""A job of several processes on this machine: started, told to stop, and stopped when one of them fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import distributed
from pipeline.preemption import SIGNALS

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
out, how = Path(sys.argv[2]), sys.argv[3]
rank = os.environ["RANK"]
signal.signal(signal.SIGUSR2, lambda *_: (out / f"told-{rank}").touch() or sys.exit(75))
if how == "ignores" and rank == "1":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
(out / f"begun-{rank}").write_text(" ".join(os.environ[name] for name in names))
if how == "well":
    sys.exit(0)
if how in ("fails", "ignores") and rank == "0":
    while not (out / "begun-1").exists():
        time.sleep(0.01)
    sys.exit(3)
time.sleep(60)
"""


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose `python -m pipeline` is the program above."""
    (tmp_path / "program.py").write_text(PROGRAM)
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {tmp_path}/program.py "$@"\n')
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.usefixtures("interpreter")
def test_each_process_knows_its_place_and_where_all_meet(tmp_path: Path) -> None:
    assert distributed.start(["pretrain", str(tmp_path), "well"], 2) == 0
    one, two = ((tmp_path / f"begun-{rank}").read_text().split() for rank in range(2))
    assert one[:5] == ["0", "0", "2", "2", "127.0.0.1"]
    assert two[:5] == ["1", "1", "2", "2", "127.0.0.1"]
    assert one[5] == two[5]
    assert 20000 <= int(one[5]) < 32768


@pytest.mark.usefixtures("interpreter")
def test_when_one_fails_the_others_are_stopped_and_its_status_counts(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    assert distributed.start(["pretrain", str(tmp_path), "fails"], 3) == 3
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.usefixtures("interpreter")
def test_one_that_does_not_leave_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "STOPPING", 0.3)
    assert distributed.start(["pretrain", str(tmp_path), "ignores"], 2) == 3


def job_that_waits(folder: Path) -> subprocess.Popen[str]:
    """A process of its own with a job of two, once both have begun."""
    code = f"import sys\nfrom pipeline import distributed\nsys.executable = {sys.executable!r}\n"
    code += f"sys.exit(distributed.start(['pretrain', {str(folder)!r}, 'waits'], 2))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    real = os.path.realpath("/proc/self/exe")
    job = subprocess.Popen([real, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    until(lambda: len(list(folder.glob("begun-*"))) == 2)
    return job


def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("interpreter")
def test_a_signal_reaches_all_of_them_and_their_status_is_given(tmp_path: Path) -> None:
    with job_that_waits(tmp_path) as job:
        job.send_signal(signal.SIGUSR2)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 75, errors
    assert {path.name for path in tmp_path.glob("told-*")} == {"told-0", "told-1"}


@pytest.mark.usefixtures("interpreter")
def test_they_do_not_outlive_the_one_that_started_them(tmp_path: Path) -> None:
    with job_that_waits(tmp_path) as job:
        (child, *others) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        assert len(others) == 1
        job.kill()
        job.communicate(timeout=60)
    until(lambda: is_over(child) and is_over(others[0]))


def is_over(process: str) -> bool:
    """Whether a process has ended, also where nobody has asked for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.usefixtures("interpreter")
def test_a_signal_for_a_job_that_is_done_tells_the_process_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: told.append(number))
    wait = distributed._wait
    monkeypatch.setattr(distributed, "_wait", lambda job: (wait(job), os.kill(os.getpid(), signal.SIGUSR2))[0])
    try:
        assert distributed.start(["pretrain", str(tmp_path), "well"], 2) == 0
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert told == [signal.SIGUSR2]
