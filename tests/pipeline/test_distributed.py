"""A job of several processes on this machine: started, told to stop, and stopped when one of them fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


@pytest.mark.usefixtures("interpreter")
def test_a_signal_reaches_all_of_them_and_their_status_is_given(tmp_path: Path) -> None:
    # In a process of its own, which sends itself the signal once all have begun.
    code = f"""
import os, signal, sys, threading, time
from pathlib import Path
from pipeline import distributed
def tell():
    while len(list(Path({str(tmp_path)!r}).glob("begun-*"))) < 2: time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGUSR2)
threading.Thread(target=tell, daemon=True).start()
sys.executable = {sys.executable!r}
sys.exit(distributed.start(["pretrain", {str(tmp_path)!r}, "waits"], 2))
"""
    real = os.path.realpath("/proc/self/exe")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([real, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 75, done.stderr
    assert {path.name for path in tmp_path.glob("told-*")} == {"told-0", "told-1"}
