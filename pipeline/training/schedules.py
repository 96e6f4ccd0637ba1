"""Lengths of time in the reader's unit, and the learning rate as a pure function of the step.

Duration.parse("100 epochs").steps(per_epoch=312.5)                   # 31250
schedule.build(per_epoch=312.5).factor(step, steps)                  # share of the full rate at `step`
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

_UNITS: dict[str, Literal["epochs", "steps", "%"]] = {
    "epoch": "epochs",
    "epochs": "epochs",
    "step": "steps",
    "steps": "steps",
    "": "steps",
    "%": "%",
}
_THOUSANDS = {"": 1, "k": 1_000, "m": 1_000_000}


@dataclass(frozen=True)
class Duration:
    """A length of training."""

    amount: float
    unit: Literal["epochs", "steps", "%"]

    @classmethod
    def parse(cls, text: str | int) -> Duration:
        """From "100 epochs", "5k steps", "10%" or a number of steps. Raises ValueError with the known forms."""
        found = re.fullmatch(r"\s*(\d+(?:_\d+)*(?:\.\d+)?)\s*([km]?)\s*([a-z%]*)\s*", str(text).lower())
        if not found or found[3] not in _UNITS:
            raise ValueError(f'{text!r} is no duration; write "100 epochs", "5k steps", "10%" or a number of steps')
        return cls(float(found[1]) * _THOUSANDS[found[2]], _UNITS[found[3]])

    def steps(self, per_epoch: float, total: float | None = None) -> float:
        """Steps, not rounded, given the steps per epoch (a fraction is fine) and of the whole training."""
        if self.unit == "epochs":
            return self.amount * per_epoch
        if self.unit == "steps":
            return self.amount
        if total is None:
            raise ValueError(f"{self.amount:g}% is a share of a whole that is not known here; give epochs or steps")
        return self.amount / 100 * total

    def __str__(self) -> str:
        return f"{self.amount:g}%" if self.unit == "%" else f"{self.amount:g} {self.unit}"


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """A linear warm-up from `start` to 1, then half a cosine down to `end`, which the last step reaches."""

    name: Literal["warmup_cosine"] = "warmup_cosine"
    warmup: str | int = "5%"
    """Length of the linear warm-up: "10 epochs", "8k steps", "5%" of training."""
    start: float = 0.0
    """Share of the full rate at the first step of the warm-up."""
    end: float = 0.001
    """Share of the full rate at the last step of training."""

    def __post_init__(self) -> None:
        try:
            Duration.parse(self.warmup)
        except ValueError as error:
            raise ValueError(f"warmup: {error}") from None
        if not (0 <= self.start <= 1 and 0 <= self.end <= 1):
            raise ValueError("start and end must lie between 0 and 1")

    def factor(self, step: int, steps: int, per_epoch: float) -> float:
        """Share of the full rate that step `step` (from 0) of `steps` is taken with; an epoch has `per_epoch` steps."""
        warmup = min(Duration.parse(self.warmup).steps(per_epoch, steps), steps)
        return warmup_cosine(step, steps, warmup, self.start, self.end)


Schedule = WarmupCosine
"""Any schedule. It is a value, config and function in one; a second kind makes this a union by `name`."""


def warmup_cosine(step: int, steps: int, warmup: float, start: float, end: float) -> float:
    """Share of the full rate. The cosine is rescaled to what is left after the warm-up (as in the swav repository)."""
    if step < warmup:
        return start + (1 - start) * step / warmup
    done = min(1.0, (step - warmup) / max(1.0, steps - 1 - warmup))
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * done))
