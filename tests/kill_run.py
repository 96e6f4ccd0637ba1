"""Kills a pretraining at random instants, many times, and compares what it comes to with one that nobody disturbed.

python -m tests.kill_run [--kills 100] [--seed 0] [--folder DIR]

Exits with 0 if the final weights and the optimizer's state are the same to the bit, and metrics.jsonl has every step
once, with the same loss to the bit. Saves are two steps apart, so kills fall into all parts of a save. One life in six
is told to stop by SIGUSR2 or SIGTERM instead, and must leave with 75. Processes are forked from one that has imported
everything: a life costs its start-up and no more. On one thread of a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STEPS, GAINED = 7, 2
"""Steps of the run for each kill, and those that a life is let do after its first, on average."""
EXACT = (
    *("trainer.precision=fp32", "trainer.checkpoint_every=2 steps", "trainer.log_every=1"),
    *("trainer.watch_every=0 steps", "trainer.keep_every=16"),
)


def begin(words: Sequence[str], log: Path) -> int:
    """Fork a process that runs the command; gives its number."""
    child = os.fork()
    if child:
        return child
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from pipeline import goodput, preemption
    from pipeline.__main__ import main

    goodput.stage_over()  # what the parent did before does not count
    preemption.heed(deferred=True)
    status = main(["pretrain", *words])
    sys.stdout.flush()
    os._exit(status)


def ended(child: int) -> int | None:
    """The exit status of a child, negative for a signal; None while it runs."""
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def size(run: Path) -> int:
    """Of its records, in bytes."""
    try:
        return (run / "metrics.jsonl").stat().st_size
    except OSError:
        return 0


def live(words: Sequence[str], run: Path, log: Path, draw: random.Random, how: signal.Signals, more: float) -> int:
    """Let the run go on, and end it at a random instant: of its start-up, or some `more` seconds after its first step.

    Gives the exit status.
    """
    child, before, began = begin(words, log), size(run), time.monotonic()
    pause = draw.uniform(0, 1.5) if draw.random() < 0.2 else None
    while pause is None or time.monotonic() < began + pause:
        if (status := ended(child)) is not None:
            return status
        if pause is None and size(run) > before:  # beyond what it rewound to, or a step later
            pause = time.monotonic() - began + draw.expovariate(1 / more)
        time.sleep(0.001)
    os.kill(child, how)
    if how is not signal.SIGKILL and draw.random() < 0.5:
        os.kill(child, draw.choice([signal.SIGUSR2, signal.SIGTERM]))
    return wait(child)


def result(run: Path) -> tuple[str, list[tuple[int, float]]]:
    """The root of the final checkpoint, with all weights and the optimizer's state, and the loss of each step."""
    newest = max((run / "checkpoints").glob("step-*"))
    records: list[dict[str, Any]] = list(map(json.loads, (run / "metrics.jsonl").read_text().splitlines()))
    losses = [(record["step"], record["loss"]) for record in records if "loss" in record]
    return json.loads((newest / "manifest.json").read_text())["root"], losses


def kill(folder: Path, kills: int, seed: int) -> Counter[str]:
    """Do it; gives what happened how often. Raises AssertionError where the results differ."""
    from pipeline import goodput
    from pipeline.__main__ import main
    from tests.commands import write_recipes

    import_all()
    recipes, log, steps = write_recipes(folder, ["shard", "pretrain"]), folder / "log.txt", STEPS * kills
    assert main(["shard", str(recipes / "shard.yaml"), f"out={folder / 'shard'}"]) == 0
    own = (f"shards={folder / 'shard'}", f"trainer.duration={steps} steps", *EXACT)
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would not survive the fork"
    undisturbed, run = folder / "undisturbed", folder / "run"
    assert wait(begin([str(recipes / "pretrain.yaml"), f"out={undisturbed}", *own], log)) == 0, log.read_text()
    words = [str(recipes / "pretrain.yaml"), f"out={run}", *own]
    more = GAINED * goodput.read(undisturbed)[0].elapsed / steps
    draw, seen, status = random.Random(seed), Counter[str](), -1
    while seen["killed"] < kills and status != 0:
        how = draw.choice([signal.SIGUSR2, signal.SIGTERM]) if draw.random() < 1 / 6 else signal.SIGKILL
        status = live(words, run, log, draw, how, more)
        seen["killed" if status == -signal.SIGKILL else f"status {status}"] += 1
        assert status in (0, 75, -signal.SIGKILL), log.read_text()[-5000:]
        names = [path.name for path in (run / "checkpoints").glob(".step-*")]
        seen.update({f"left .{name.rpartition('.')[2]} of a save": 1 for name in names})
    if status != 0:
        assert wait(begin(words, log)) == 0, log.read_text()[-5000:]
    expected, found = result(undisturbed), result(run)
    assert [step for step, _ in found[1]] == list(range(1, steps + 1)), "every step once, in order"
    assert found[1] == expected[1], "the same losses"
    assert found[0] == expected[0], "the same weights and optimizer, to the bit"
    return seen


def import_all() -> None:
    """What a training imports, before processes are forked."""
    import pytorch_lightning  # noqa: F401
    import torch

    from pipeline.checkpoints.manifest import code_versions

    torch.set_num_threads(1)
    code_versions()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-run-") as temporary:
        happened = kill(given.folder or Path(temporary), given.kills, given.seed)
    print("the same to the bit after", ", ".join(f"{count} × {what}" for what, count in sorted(happened.items())))
