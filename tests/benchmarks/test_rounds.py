"""Taking turns, and what is made of it."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from data_shards import images
from tests.benchmarks import inputs
from tests.benchmarks.rounds import Job, Row, Side, SideError, race, rows_of, table
from tests.data_shards.pictures import jpeg


class Recorded(Side):
    """A side that costs what it is told."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    def run(self, job: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append(self.name)
        return {"processor": arguments["cost"], "wall": 2 * arguments["cost"], "peak": 0, "value": None}


def test_sides_take_turns_after_a_warm_up_that_is_checked() -> None:
    calls: list[str] = []
    ours = Job(side=Recorded("ours", calls), name="pack", arguments={"cost": 2.0})
    peer = Job(side=Recorded("peer", calls), name="pack", arguments={"cost": 6.0})
    costs = race(ours, peer, 3, lambda: calls.append("checked"))
    assert calls == ["ours", "peer", "checked", "ours", "peer", "peer", "ours", "ours", "peer"]
    assert [(a["processor"], b["processor"]) for a, b in costs] == [(2.0, 6.0)] * 3


def test_a_ratio_is_taken_within_a_round() -> None:
    pairs = [(1.0, 3.0), (2.0, 4.0), (10.0, 50.0)]
    costs = [({"processor": a, "wall": a}, {"processor": b, "wall": 2 * b}) for a, b in pairs]
    core, clock = rows_of("x", costs, 1_000_000, "≥ 4")
    assert (core.ours, core.peer, core.ratio, core.low, core.high) == (2.0, 4.0, 3.0, 2.0, 5.0)
    assert (clock.name, clock.ratio, core.met, clock.met) == ("x_wall", 6.0, False, True)
    slower = rows_of("x", costs, 1_000_000, "≤ 0.4", slower=True)[0]
    assert (slower.ratio, slower.met) == (pytest.approx(1 / 3), True)
    assert "**not met**" in table([core])


def test_a_bound_on_a_row_without_a_peer_is_on_its_own_figure() -> None:
    row = Row(name="m", ours=301.0, peer=None, ratio=None, low=1, high=1, unit="MB", asked="≤ 300 MB")
    assert row.met is False


def test_a_process_answers_with_its_cost_and_says_what_went_wrong(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"abc")
    core = min(os.sched_getaffinity(0))
    with Side("plain", core) as side:
        answer = side.run("copy", source=str(tmp_path / "in"), out=str(tmp_path / "out"))
        assert answer["value"] == 3
        assert (tmp_path / "out" / "copy").read_bytes() == b"abc"
        assert answer["processor"] > 0
        assert answer["peak"] > 1 << 20
        with pytest.raises(SideError, match="FileExistsError"):
            side.run("copy", source=str(tmp_path / "in"), out=str(tmp_path / "out"))


def test_repeated_photographs_differ_in_bytes_and_not_in_pixels(tmp_path: Path) -> None:
    originals = [jpeg(seed=number) for number in range(2)]
    folder = inputs.lay_out(originals, 7, tmp_path / "in", classes=2)
    hashes = inputs.hashes_of(folder)
    assert len(hashes) == 7
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
        pixels = images.decode(path.read_bytes())
        assert (pixels == images.decode(originals[number % 2])).all() or number >= 2
        assert any((pixels == images.decode(original)).all() for original in originals)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(folder)
    assert inputs.hashes_in_tars(tmp_path) == hashes
    assert len(inputs.photographs_in(tmp_path / "a.tar")) == 7
    assert hashlib.sha256(originals[0]).hexdigest() in hashes
