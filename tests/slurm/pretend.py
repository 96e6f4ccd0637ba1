"""A training without the training: what a task owes the job that started it, and nothing else.

    pretend.py OUT steps=40 [seconds=0.05] [every=5] [crash=RANK@STEP] [status=1]

Every step takes `seconds`; the first task saves every `every` steps. SIGUSR2 and SIGTERM set a flag; at the end of the
next step all tasks agree, the first one saves, and all exit with 75. `crash` ends a task with `status` at a step, in
the first start only. Its log of steps is OUT/steps.txt.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

told = False


def tell(number: int, frame: FrameType | None) -> None:
    """The handler: a flag and nothing else."""
    global told
    told = True


def agreed(folder: Path, rank: int, tasks: int) -> bool:
    """Whether all tasks have come here within some seconds: a collective, which one that has crashed never joins."""
    folder.mkdir(exist_ok=True)
    (folder / str(rank)).touch()
    deadline = time.monotonic() + 3
    while len(list(folder.iterdir())) < tasks:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def main(out: Path, options: dict[str, str]) -> int:
    """One task; gives its exit status."""
    signal.signal(signal.SIGUSR2, tell)
    signal.signal(signal.SIGTERM, tell)
    rank, restart = int(os.environ["SLURM_PROCID"]), int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    folder = out / "checkpoints"
    begin = max((int(path.name[5:]) for path in folder.glob("step-*")), default=0)
    crash = options.get("crash", "") if restart == 0 else ""
    print(f"task {rank} begins at step {begin}", flush=True)
    for step in range(begin + 1, int(options["steps"]) + 1):
        time.sleep(float(options.get("seconds", "0.05")))
        if crash == f"{rank}@{step}":
            print("Traceback (most recent call last):\nRuntimeError: this GPU has fallen off the bus", flush=True)
            return int(options.get("status", "1"))
        saved = folder / f"step-{step:09d}"
        if rank == 0:
            with (out / "steps.txt").open("a") as file:
                file.write(f"{restart} {step}\n")
            if step % int(options.get("every", "5")) == 0:
                saved.mkdir(parents=True, exist_ok=True)
        if told:
            if not agreed(out / f"told-{restart}", rank, int(os.environ["SLURM_NTASKS"])):
                return 1
            if rank == 0:
                saved.mkdir(parents=True, exist_ok=True)
            time.sleep(0.3)  # nobody leaves before all is saved: the first to leave has the others stopped
            print(f"task {rank} stops after step {step}", flush=True)
            return 75
    return 0


if __name__ == "__main__":
    given = dict(word.removeprefix("pretend.").split("=", 1) for word in sys.argv[1:] if "=" in word)
    sys.exit(main(Path(given["out"]), given))
