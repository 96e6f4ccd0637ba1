"""Where the time of a run went, start by start: how much of it was training that counted.

    RUN/goodput.jsonl    a line when a start begins, with each record of metrics.jsonl, and at its end; only appended
        {"start": 2, "began": …, "time": …, "begin": 120, "step": 150, "queue": 95.0, "start_up": 8.1, "elapsed": 60.2,
         "data_wait": 1.2, "checkpoint": 0.4, "measuring": 2.0, "end": "preempted"}

Seconds are those of the first process, summed since its start: so the last line of a start says all, and a kill loses
what came after it. Work of a start that the next one did again is known only then, and taken off when it is read.
Reads a file that anything may stand in; needs no torch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

FILE = "goodput.jsonl"
PARTS = {
    "compute": "training",
    "data_wait": "waiting for data",
    "checkpoint": "checkpoints",
    "measuring": "measuring",
    "lost": "lost work",
    "start_up": "start-up",
    "queue": "queue",
}
"""What a start's time is made of, and in words; the first is what it was for."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The seconds of one start of a run."""

    start: int
    """Counted from 1."""
    begin: int
    """The step that it went on from."""
    step: int
    """The last one that it recorded."""
    began: float = 0.0
    """When, in seconds since 1970."""
    end: str = ""
    """done | preempted | stopped | failed; empty where it was killed, or is at work."""
    queue: float = 0.0
    """In SLURM's queue, since it was submitted or requeued."""
    start_up: float = 0.0
    """From the start of the process to the first step."""
    elapsed: float = 0.0
    """From the first step to the last recorded."""
    data_wait: float = 0.0
    checkpoint: float = 0.0
    """In which training stood still for a save."""
    measuring: float = 0.0
    """In which training stood still for kNN accuracy: while weights were copied, and when it was over, until all was
    measured."""
    lost: float = 0.0
    """Of steps that were done again."""

    @property
    def compute(self) -> float:
        """In steps that count."""
        return max(0.0, self.elapsed - self.data_wait - self.checkpoint - self.measuring - self.lost)

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(getattr(self, part) for part in PARTS))


def since() -> float:
    """When the stage at work began, in seconds since 1970: with this process, or when the stage before it was over."""
    return _over or _process_began()


def stage_over() -> None:
    """A stage of this process is over: what comes next is the start-up of another."""
    global _over
    _over = time.time()


_over = 0.0


def _process_began() -> float:
    """Where the system does not tell, now."""
    try:
        after_name = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.time()


def append(run: Path, account: Account) -> None:
    """Write down how an account stands. `lost` is not known yet."""
    record = {field.name: getattr(account, field.name) for field in fields(Account) if field.name != "lost"}
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in record.items()}
    with (run / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": round(time.time(), 3), **rounded}) + "\n")


def read(run: Path) -> list[Account]:
    """The accounts of all starts, in order, with the work that was lost; what is no account is left out."""
    try:
        lines = (run / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    last = {account.start: account for line in lines if (account := _parsed(line)) is not None}
    accounts = [last[start] for start in sorted(last)]
    return [*(_without_lost(now, then) for now, then in pairwise(accounts)), *accounts[-1:]]


def summed(accounts: Sequence[Account]) -> dict[str, float]:
    """Seconds by part, over all starts."""
    return {part: sum(getattr(account, part) for account in accounts) for part in PARTS}


def failures(accounts: Sequence[Account]) -> int:
    """How many of these starts, all of them over, were killed or failed."""
    return sum(account.end in ("", "failed") for account in accounts)


def _without_lost(account: Account, following: Account) -> Account:
    steps = account.step - account.begin
    again = min(max(0, account.step - following.begin), steps)
    return replace(account, lost=account.compute * again / steps) if steps > 0 else account


def _parsed(line: str) -> Account | None:
    try:
        record: Any = json.loads(line)
        return Account(**{field.name: _field(record, field.name, field.default) for field in fields(Account)})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _field(record: Mapping[str, Any], name: str, default: Any) -> Any:
    if name in ("start", "begin", "step"):
        return int(record[name])
    if name == "end":
        return str(record.get(name, ""))
    value = float(record.get(name, 0.0))
    if not 0 <= value < 1e12:
        raise ValueError(name)
    return value
