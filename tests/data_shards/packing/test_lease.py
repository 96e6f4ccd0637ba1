"""One holder at a time, and a successor that knows whether the one before it can still write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from data_shards.packing import lease
from data_shards.packing.lease import Lease, holder_of


def elsewhere(folder: Path, silent_for: float) -> None:
    """Make the newest lease one of a process on another machine that was last seen some seconds ago."""
    path = max(folder.glob("lease-*"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another", "released": False}))
    os.utime(path, (time.time() - silent_for,) * 2)


def test_a_lease_is_held_by_one_and_goes_on_in_its_folder_when_it_is_let_go(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with Lease.take(folder) as first:
        assert first is not None
        with Lease.take(folder) as second:
            assert second is None
        assert str(os.getpid()) in str(holder_of(folder))
    assert holder_of(folder) is None
    with Lease.take(folder) as third:
        assert third is not None
        assert third.work == first.work


def test_the_lease_of_a_process_that_was_killed_is_free_and_its_work_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    program = (
        "import sys, time; from pathlib import Path; from data_shards.packing.lease import Lease\n"
        "with Lease.take(Path(sys.argv[1])) as lease: print(lease.work, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        work = holder.stdout.readline().strip()
        with Lease.take(folder) as second:
            assert second is None
        holder.kill()
        holder.wait()
        with Lease.take(folder) as third:
            assert third is not None
            assert str(third.work) == work


def test_a_silent_holder_elsewhere_is_followed_by_one_that_begins_anew(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with Lease.take(folder) as first:
        assert first is not None
        elsewhere(folder, silent_for=lease.SILENCE - 20)
        with Lease.take(folder) as second:
            assert second is None, "it was seen a moment ago"
        elsewhere(folder, silent_for=lease.SILENCE + 20)
        with Lease.take(folder) as third:
            assert third is not None
            assert third.work != first.work, "the other may wake up and write"
    with Lease.take(folder) as fourth:
        assert fourth is not None
        assert fourth.work == third.work


def test_the_number_of_a_dead_process_in_other_hands_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with Lease.take(folder):
        path = max(folder.glob("lease-*"))
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": os.getppid(), "started": "1"}))
        with Lease.take(folder) as second:
            assert second is not None


def test_a_lease_that_was_never_written_is_waited_for_and_then_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "lease-000001").touch()
    with Lease.take(folder) as held:
        assert held is None
    os.utime(folder / "lease-000001", (time.time() - 2 * lease.SILENCE,) * 2)
    with Lease.take(folder) as free:
        assert free is not None


def test_of_many_that_reach_for_it_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_newest", lambda folder: (0, None))  # all see it free at once
    winners = []
    begin, end = threading.Barrier(8), threading.Barrier(8)

    def reach() -> None:
        begin.wait()
        with Lease.take(tmp_path / "work") as held:
            winners.append(held is not None)
            end.wait()

    threads = [threading.Thread(target=reach) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(winners) == [False] * 7 + [True]


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_BEAT", 0.01)
    with Lease.take(tmp_path / "work") as held:
        assert held is not None
        os.utime(held.path, (1, 1))
        while held.path.stat().st_mtime < 2:
            time.sleep(0.01)


def test_work_that_is_gone_cannot_be_taken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Lease.take(tmp_path / "gone" / "work"):
        pass
