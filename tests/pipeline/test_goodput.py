"""Accounts of a run's time: what is read is what was written, and work done again is taken off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import goodput
from pipeline.goodput import Account, append, failures, read, summed


def account(start: int, begin: int, step: int, **seconds: float | str) -> Account:
    return Account(start=start, begin=begin, step=step, **seconds)  # type: ignore[arg-type]


def test_the_last_line_of_a_start_counts(tmp_path: Path) -> None:
    append(tmp_path, account(1, 0, 0, start_up=2.0, queue=5.0))
    append(
        tmp_path, account(1, 0, 10, start_up=2.0, queue=5.0, elapsed=10.0, data_wait=1.0, checkpoint=0.5, measuring=2.5)
    )
    (found,) = read(tmp_path)
    assert found.compute == 6.0
    assert found.total == 17.0 == sum(summed([found]).values())


def test_steps_that_the_next_start_did_again_are_lost_work(tmp_path: Path) -> None:
    append(tmp_path, account(1, 0, 100, elapsed=60.0, data_wait=10.0, began=1.0))
    append(tmp_path, account(2, 80, 90, elapsed=5.0))
    append(tmp_path, account(3, 90, 120, elapsed=15.0, end="done"))
    one, two, three = read(tmp_path)
    assert one.lost == pytest.approx(50 * 20 / 100)
    assert one.compute == pytest.approx(40)
    assert one.total == 60, "what is lost is no more time"
    assert two.lost == three.lost == 0
    assert failures([one, two, three]) == 2


def test_a_start_that_lost_all_it_did_and_one_that_did_nothing(tmp_path: Path) -> None:
    append(tmp_path, account(1, 50, 50, start_up=3.0))
    append(tmp_path, account(2, 50, 60, elapsed=10.0))
    append(tmp_path, account(3, 0, 5, elapsed=1.0))  # the checkpoints before were damaged
    append(tmp_path, account(4, 5, 6, elapsed=1.0))
    assert [found.lost for found in read(tmp_path)] == [0, 10, 0, 0]


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "[1]", "null", '{"start": 1}', '{"start": "x", "begin": 0, "step": 1}'),
        '{"start": 2, "begin": 0, "step": 1, "elapsed": -1}',
        '{"start": 2, "begin": 0, "step": 1, "elapsed": NaN}',
    ],
)
def test_what_is_no_account_is_left_out(tmp_path: Path, line: str) -> None:
    append(tmp_path, account(1, 0, 1))
    with (tmp_path / goodput.FILE).open("a") as file:
        file.write(line + "\n\x00\n")
    append(tmp_path, account(3, 1, 2))
    assert [found.start for found in read(tmp_path)] == [1, 3]


def test_a_line_names_no_lost_work_and_has_the_time(tmp_path: Path) -> None:
    append(tmp_path, account(1, 0, 1, lost=3.0))
    record = json.loads((tmp_path / goodput.FILE).read_text())
    assert "lost" not in record
    assert record["time"] > 1.7e9


def test_a_stage_begins_with_its_process_or_after_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goodput, "_over", 0.0)
    began = goodput.since()
    assert goodput.since() == pytest.approx(began, abs=0.1)
    goodput.stage_over()
    assert goodput.since() > began
