"""What is handed over is measured in order and once, and nothing that happens to the other process harms training."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from multiprocessing.connection import Pipe
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.evaluation.observing import Found
from pipeline.training.observer import COMMAND, FOLDER, LOG, MOST, TRIES, Observer

PRETENDED = """
import os, sys
from multiprocessing.connection import Connection
from pipeline.evaluation.observing import Found
pipe = Connection(int(sys.argv[1]))
pipe.recv_bytes()
print("here", sys.argv[2], flush=True)
while True:
    step, tensors = pipe.recv()
    {}
"""
"""Another process that answers at once, without torch."""


def pretended(does: str) -> tuple[str, ...]:
    return (sys.executable, "-c", PRETENDED.format(does))


ANSWERS = pretended("pipe.send(Found(step=step, knn=step / 100 if tensors.exists() else -1.0))")
SLEEPS = pretended("import time; time.sleep(100)")
DIES = pretended("os._exit(1)")
FAILS = pretended("pipe.send(Found(step=step, error='no such shard'))")
TASK: Any = "what to measure"


def observer(run: Path, command: tuple[str, ...]) -> Observer:
    return Observer(run, TASK, command=command)


def hand_over(one: Observer, steps: Iterable[int]) -> None:
    for step in steps:
        one.hand_over(step, {"weight": torch.full((2, 3), float(step)), "count": torch.tensor(step)})


def until_idle(one: Observer, seconds: float = 60.0) -> list[Found]:
    found: list[Found] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for new in one.poll():
            found.append(new)
            one.done(new.step)
        if not one.is_busy:
            return found
        time.sleep(0.01)
    raise AssertionError("nothing came")


def left(run: Path) -> list[str]:
    return sorted(path.name for path in (run / FOLDER).glob("*"))


def test_all_is_measured_in_order_and_its_file_stays_until_the_figure_is_recorded(tmp_path: Path) -> None:
    one = observer(tmp_path, ANSWERS)
    hand_over(one, [0])
    (first,) = [*one.wait(60, lambda: False)]
    assert first == Found(step=0, knn=0.0)
    assert left(tmp_path) == ["000000000.safetensors"]
    one.done(0)
    assert left(tmp_path) == []
    hand_over(one, [3, 6, 0])
    assert [(found.step, found.knn) for found in until_idle(one)] == [(3, 0.03), (6, 0.06)]
    one.close()
    assert not (tmp_path / FOLDER).exists()


def test_what_is_handed_over_can_be_read_as_it_was(tmp_path: Path) -> None:
    one = observer(tmp_path, SLEEPS)
    weights = {"a": torch.rand(3, 5), "n": torch.tensor(7), "b": torch.rand(2).bfloat16(), "none": torch.empty(0)}
    one.hand_over(4, weights)
    one.close()
    read = load_file(tmp_path / FOLDER / "000000004.safetensors")
    assert {name: (t.dtype, t.tolist()) for name, t in read.items()} == {
        name: (t.dtype, t.tolist()) for name, t in weights.items()
    }


def test_of_more_than_may_wait_the_untrained_and_the_newest_stay(tmp_path: Path) -> None:
    one = observer(tmp_path, SLEEPS)
    for step in range(0, 100, 10):
        hand_over(one, [step])
        one._finish_writing()
        one._take_written()
    assert len(left(tmp_path)) == MOST
    assert left(tmp_path) == [f"{step:09d}.safetensors" for step in (0, 60, 70, 80, 90)]
    one.close()


def test_those_that_wait_have_only_so_many_bytes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.observer.BYTES", 100)
    one = observer(tmp_path, SLEEPS)
    for step in (10, 20, 30):
        hand_over(one, [step])
        one._finish_writing()
        one._take_written()
    assert left(tmp_path) == ["000000030.safetensors"]
    one.close()


def test_the_next_start_measures_what_was_left_up_to_the_step_it_goes_on_from(tmp_path: Path) -> None:
    one = observer(tmp_path, SLEEPS)
    hand_over(one, [0, 3, 6, 9])
    one.poll()
    one.close()
    assert len(left(tmp_path)) == 4
    (tmp_path / FOLDER / ".000000004.safetensors.tmp").write_text("cut short")
    then = observer(tmp_path, ANSWERS)
    then.take_up(6, known={0})
    hand_over(then, [3])
    assert [found.step for found in until_idle(then)] == [3, 6]
    assert left(tmp_path) == []
    then.close()


def test_a_process_that_dies_is_started_again_and_then_given_up_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = observer(tmp_path, DIES)
    hand_over(one, [0, 3])
    assert until_idle(one) == []
    assert one.has_given_up
    assert left(tmp_path) == []
    said = capsys.readouterr().out
    assert said.count("is started again") == TRIES - 1
    assert f"has ended {TRIES} times and is not started again; {tmp_path / LOG} says why" in said
    assert (tmp_path / LOG).read_text() == "here beside\n" * TRIES
    hand_over(one, [6])
    assert not one.is_busy
    one.close()


def test_what_cannot_be_measured_or_written_is_said_and_the_next_one_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = observer(tmp_path, FAILS)
    hand_over(one, [3, 6])
    assert until_idle(one) == []
    assert left(tmp_path) == []
    said = capsys.readouterr().out
    assert "kNN accuracy of step 3 is not known: no such shard" in said
    assert "kNN accuracy of step 6 is not known: no such shard" in said
    one.close()
    (tmp_path / FOLDER).write_text("in the way")
    hand_over(one, [9])
    one._finish_writing()
    assert one.poll() == []
    assert "its weights were not written" in capsys.readouterr().out


def test_waiting_ends_when_it_takes_too_long_or_is_told_to_and_loses_nothing(tmp_path: Path) -> None:
    one = observer(tmp_path, SLEEPS)
    hand_over(one, [3])
    assert list(one.wait(0.3, lambda: False)) == []
    assert list(one.wait(60, lambda: True)) == []
    assert one.is_busy
    one.close()
    assert left(tmp_path) == ["000000003.safetensors"]
    assert not one.beside


def test_closing_ends_the_process(tmp_path: Path) -> None:
    one = observer(tmp_path, SLEEPS)
    hand_over(one, [3])
    one._finish_writing()
    one.poll()
    assert one._process is not None
    number = one._process.pid
    one.close(keep=False)
    assert not (tmp_path / FOLDER).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


class Slow:
    """What takes long to be read at the other end."""

    def __reduce__(self) -> Any:
        return time.sleep, (100,)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's scheduler")
def test_the_process_has_the_lowest_priority_leaves_signals_alone_and_ends_with_its_pipe() -> None:
    ours, theirs = Pipe()
    with theirs:
        command = [*COMMAND, str(theirs.fileno()), "beside"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        process = Popen(command, pass_fds=[theirs.fileno()], env=environment)
    with process:
        ours.send(Slow())
        deadline = time.monotonic() + 60
        while os.sched_getscheduler(process.pid) != os.SCHED_IDLE and time.monotonic() < deadline:
            time.sleep(0.01)
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "1000"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            process.send_signal(number)
        time.sleep(0.2)
        assert process.poll() is None
        ours.close()
        assert process.wait(60) == 0
