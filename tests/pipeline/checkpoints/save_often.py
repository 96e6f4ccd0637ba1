"""Kills a process that saves in the background without end, many times, and looks each time at what is left.

python -m tests.pipeline.checkpoints.save_often RUN KILLS SEED: exits with 0 if nothing was ever lost, and prints
the last step. It starts no thread and forks, because importing torch takes seconds.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from pipeline.checkpoints.manifest import FOLDER, code_versions, directories
from pipeline.checkpoints.rows import sum_of_rows
from pipeline.checkpoints.state import State
from pipeline.checkpoints.store import Position, Retention, Saver, latest, restore, verify
from pipeline.checkpoints.tensors import root_hash
from tests.pipeline.checkpoints.trainings import whole

FILLER = 400_000  # bytes
sum_of_rows(np.zeros(8, np.uint8), 1)  # compiled once, before processes are forked
code_versions()


def state(step: int) -> State:
    """A state whose every number says of which step it is."""
    weights = torch.arange(FILLER // 8, dtype=torch.float32).view(100, -1) + step
    momenta = {"weight": {"momentum": weights * 2, "step": torch.tensor(float(step))}}
    return {"objective": {"weight": weights}, "optimizer": {"state": momenta, "param_groups": [{"lr": step / 7}]}}


def position(step: int) -> Position:
    return Position(step=step, consumed=step * 16)


def save_often(run: Path, step: int, told: int) -> None:
    """Save after every step from `step` on, and write the number of each step that is safe to a pipe."""
    torch.set_num_threads(1)
    saver = Saver(run, Retention(last=2, every=4))
    held = state(step)
    while True:
        step += 1
        now = state(step)
        for name, tensor in now["optimizer"]["state"]["weight"].items():  # training goes on in place
            held["optimizer"]["state"]["weight"][name].copy_(tensor)
        held["objective"]["weight"].copy_(now["objective"]["weight"])
        held["optimizer"]["param_groups"][0]["lr"] = step / 7
        saver.save(held, position(step))  # returns once the one before is safe
        if saver.newest is not None:
            os.write(told, f"{saver.newest.step}\n".encode())


def intact(run: Path, steps: set[int]) -> int:
    """The step of the newest checkpoint, which is one of `steps`, verifies and holds what was saved at that step."""
    found, passed_over = latest(run)
    assert passed_over == []
    assert all(verify(path) == [] for path in directories(run / FOLDER)), "nothing damaged has a name"
    assert found is not None
    assert found.step in steps, (found.step, steps)
    into = state(0)
    restore(found, into)
    assert into["optimizer"]["param_groups"][0]["lr"] == found.step / 7
    assert root_hash(whole(into)) == found.root == root_hash(whole(state(found.step)))
    return found.step


def killed(run: Path, step: int, seconds: float) -> int:
    """Let a process save from `step` on, and kill it so long after the first one was safe; gives the last it told."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        save_often(run, step, there)
    os.close(there)
    with open(here) as pipe:
        first = pipe.readline()
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return int((first + pipe.read()).split()[-1])


if __name__ == "__main__":
    run, kills, draw, step = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3])), 0
    torch.set_num_threads(1)
    for _ in range(kills):
        told = killed(run, step, draw.uniform(0, 0.03))
        looking = os.fork()
        if looking == 0:
            intact(run, {told, told + 1, told + 2})
            os._exit(0)
        if os.waitpid(looking, 0)[1]:
            sys.exit(f"after the checkpoint of step {told}")
        step = told
    print(step)
