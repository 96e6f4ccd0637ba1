"""Progress without a terminal: plain lines."""

from __future__ import annotations

import pytest

from data_shards import progress
from data_shards.progress import Progress


def test_plain_lines_tell_the_state_and_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with Progress(200, label="shard") as line:
        line.update(50, loss=4.123456)
        line.update(100, wait=0.5)
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith("shard: 50 of 200 (25%) images, ")
    assert "loss=4.123" in first
    assert first.endswith(" left")
    assert "150 of 200 (75%)" in second
    assert "loss=4.123 wait=0.5" in second
    assert last.startswith("shard: 150 images, ")


def test_what_was_done_before_does_not_enter_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 5.0, 10.0, 15.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    line = Progress(1000, quiet=True).__enter__()
    line.start_at(500)
    line.update(100)
    assert "600 of 1,000 (60%) images, 20 images/s, 20 s left" in line.line()


def test_a_quiet_one_and_one_that_ends_in_an_error_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(10, quiet=True) as line:
        line.update(10)
    with pytest.raises(KeyError), Progress(10):
        raise KeyError
    assert capsys.readouterr().err == ""


def test_the_total_may_come_later() -> None:
    line = Progress(quiet=True)
    assert "of" not in line.line()
    line.total = 7
    assert "0 of 7 (0%)" in line.line()


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (65, "1 min 05 s"), (7325, "2 h 02 min")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert progress._duration(seconds) == text
