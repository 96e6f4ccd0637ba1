"""Commands as a user types them, and a chain small enough to run many times.

Three photographs, a network of a few thousand weights, twelve steps.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARD = """
source: {name: photographs, only: [brick, coffee, moon], tile: 32, train: 40, test: 16}
"""
PRETRAIN = """
model: {size: custom, widths: [16, 32], depths: [1, 1], strides: [2, 2], stem_width: 16}
views: {name: multicrop, crops: [{count: 2, size: 24, scale: [0.3, 1.0]}, {count: 2, size: 16, scale: [0.1, 0.4]}]}
view: {size: 32, resize: 32}
objective: {name: swav, prototypes: 8, freeze_prototypes: 4, hidden: [32], dim: 16}
optimizer: {name: sgd, rate: 0.5, larc: null}
trainer: {duration: 12 steps, batch: 32, log_every: 1, checkpoint_every: 2 steps, wandb: "off"}
"""
PROBE = "view: {size: 32, resize: 32}\n"
FINETUNE = """
views: {size: 32}
view: {size: 32, resize: 32}
trainer: {duration: 4 steps, batch: 16, checkpoint_every: 2 steps, wandb: "off"}
"""
EXPORT = "view: {size: 32, resize: 32}\nlayouts: [torchvision]\n"
CHAIN = """
stages:
  - shard: shard.yaml
  - pretrain: pretrain.yaml
  - probe: probe.yaml
  - finetune: finetune.yaml
  - export: export.yaml
  - report: null
"""


@dataclass(frozen=True)
class Done:
    """A finished command."""

    status: int
    output: str
    errors: str


def run(*arguments: str, cwd: Path | None = None) -> Done:
    """`python -m pipeline ARGUMENTS` in a process of its own."""
    with started(*arguments, cwd=cwd) as process:
        output, errors = process.communicate(timeout=300)
    return Done(process.returncode, output, errors)


def started(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """The same, still running, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
        # A background shell ignores Ctrl-C and hands that on; a user's terminal does not.
        preexec_fn=_heed_ctrl_c,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def _heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool], how: int = signal.SIGKILL) -> Done:
    """Send a signal to a command and all it has started as soon as `ready` says so, or when it has ended by itself."""
    deadline = time.monotonic() + 200
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    if process.poll() is None:
        os.killpg(process.pid, how)
    output, errors = process.communicate(timeout=100)
    return Done(process.returncode, output, errors)


def write_recipes(
    folder: Path, names: Sequence[str] = ("shard", "pretrain", "probe", "finetune", "export", "chain")
) -> Path:
    """The recipes above as files."""
    for name in names:
        (folder / f"{name}.yaml").write_text(globals()[name.upper()])
    return folder
