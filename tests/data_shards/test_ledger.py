"""The ledger of bad samples and its alarm."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from data_shards.errors import SampleRateError
from data_shards.ledger import WINDOW, BadSample, Ledger, entries, ledgers_in


def bad(position: int, reason: str = "truncated") -> BadSample:
    return BadSample(shard="train-000000.tar", key="k", offset=512, hash="h", reason=reason, epoch=0, position=position)


def test_every_record_is_one_line_even_from_many_threads(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "bad.jsonl")
    threads = [
        threading.Thread(target=lambda n=n: [ledger.record(bad(n * 100 + i)) for i in range(50)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    positions = [json.loads(line)["position"] for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert sorted(positions) == [n * 100 + i for n in range(4) for i in range(50)]
    assert ledger.bad == 200


def test_a_ledger_is_continued_not_overwritten(tmp_path: Path) -> None:
    for position in range(2):
        Ledger(tmp_path / "bad.jsonl").record(bad(position))
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 2


def test_the_alarm_needs_both_a_share_and_a_number_and_names_what_it_met(tmp_path: Path) -> None:
    ledger = Ledger(max_rate=0.1)
    for position in range(9):
        ledger.record(bad(position))
    ledger.check(9, tmp_path)
    ledger.record(bad(9, "damaged"))
    ledger.check(100, tmp_path)
    with pytest.raises(
        SampleRateError,
        match=r"10 of the last 99 .*: 9 truncated, 1 damaged \(10 of them in train-000000.tar, the last k in "
        r"train-000000.tar\); at most 10\.00% may be",
    ):
        ledger.check(99, tmp_path)


def test_the_alarm_looks_at_what_was_seen_lately(tmp_path: Path) -> None:
    ledger = Ledger(max_rate=0.001)
    seen = 100 * WINDOW
    ledger.check(seen, tmp_path)
    for position in range(WINDOW // 1000 + 1):
        ledger.record(bad(seen + position))
    with pytest.raises(SampleRateError, match=f"21 of the last {WINDOW} samples"):
        ledger.check(seen + 100, tmp_path)
    ledger.check(seen + 100 + WINDOW, tmp_path)
    assert ledger.bad == 21


def test_a_position_is_entered_once_whichever_process_meets_it_again(tmp_path: Path) -> None:
    first = [Ledger.of_run(tmp_path, rank) for rank in range(2)]
    for position in range(6):
        first[position % 2].record(bad(position))
    assert [path.name for path in ledgers_in(tmp_path)] == ["bad_samples-1.jsonl", "bad_samples.jsonl"]
    with open(tmp_path / "bad_samples.jsonl", "a") as file:
        file.write('{"shard": "cut')
    again = Ledger.of_run(tmp_path)
    again.start(2)  # what the checkpoint says; 0 and 1 will not come again
    for position in range(2, 9):
        again.record(bad(position))
    positions = [entry["position"] for path in ledgers_in(tmp_path) for entry in entries(path)]
    assert sorted(positions) == list(range(9))
    assert again.bad == 7, "the alarm counts what was met"
