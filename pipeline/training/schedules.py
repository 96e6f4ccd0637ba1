"""Lengths of time in the reader's unit, and the learning rate as a pure function of the step.

Duration.parse("100 epochs").steps(per_epoch=312.5)                   # 31250
WarmupCosine().factor(step, steps, per_epoch=312.5)                  # share of the full rate at `step`
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

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
class Warmup:
    """A linear warm-up from `start` to 1, which every schedule may begin with."""

    warmup: str | int = "5%"
    """Length of the linear warm-up: "10 epochs", "8k steps", "5%" of training."""
    start: float = 0.0
    """Share of the full rate at the first step of the warm-up."""

    def __post_init__(self) -> None:
        _check_duration("warmup", self.warmup)
        _check_share("start", self.start)

    def length(self, steps: int, per_epoch: float) -> float:
        """Steps of the warm-up, not rounded."""
        return min(Duration.parse(self.warmup).steps(per_epoch, steps), steps)


@dataclass(frozen=True, kw_only=True)
class WarmupCosine(Warmup):
    """A linear warm-up from `start` to 1, then half a cosine down to `end`."""

    name: Literal["warmup_cosine"] = "warmup_cosine"
    end: float = 0.001
    """Share of the full rate at the end of training."""
    cosine: Literal["rescaled", "fixed"] = "rescaled"
    """Over what it is laid: rescaled to the rest (swav), or fixed to all of training and entered late (VISSL, SEER)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("end", self.end)

    def factor(self, step: int, steps: int, per_epoch: float) -> float:
        """Share of the full rate that step `step` (from 0) of `steps` is taken with; an epoch has `per_epoch` steps."""
        cosine = rescaled_cosine if self.cosine == "rescaled" else fixed_cosine
        return cosine(step, steps, self.length(steps, per_epoch), self.start, self.end)


@dataclass(frozen=True, kw_only=True)
class WarmupConstant(Warmup):
    """A linear warm-up from `start` to 1, then the full rate to the end, as SEER's RG-128 had."""

    name: Literal["warmup_constant"] = "warmup_constant"

    def factor(self, step: int, steps: int, per_epoch: float) -> float:
        """Share of the full rate that step `step` (from 0) of `steps` is taken with; an epoch has `per_epoch` steps."""
        return warm(step, self.length(steps, per_epoch), self.start)


@dataclass(frozen=True, kw_only=True)
class StepDecay(Warmup):
    """The full rate, multiplied by `times` at each milestone: the recipes of fine-tuning and of linear probes."""

    name: Literal["step_decay"] = "step_decay"
    milestones: tuple[str | int, ...] = ("30%", "60%", "90%")
    """Where the rate falls: "30 epochs", "8k steps", "90%" of training."""
    times: float = 0.1
    """What the rate is multiplied by at each milestone."""
    warmup: str | int = "0 steps"
    """Length of the linear warm-up: "10 epochs", "8k steps", "5%" of training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for milestone in self.milestones:
            _check_duration("milestones", milestone)
        if not self.milestones:
            raise ValueError("milestones is empty; give some, or take the schedule warmup_constant")
        if not 0 < self.times < 1:
            raise ValueError(f"times must lie between 0 and 1, not {self.times:g}")

    def factor(self, step: int, steps: int, per_epoch: float) -> float:
        """Share of the full rate that step `step` (from 0) of `steps` is taken with; an epoch has `per_epoch` steps."""
        passed = sum(step >= Duration.parse(milestone).steps(per_epoch, steps) for milestone in self.milestones)
        return warm(step, self.length(steps, per_epoch), self.start) * self.times**passed


Schedule = Annotated[WarmupCosine | WarmupConstant | StepDecay, Field(discriminator="name")]
"""Any schedule: a value, config and function in one."""


def warm(step: int, warmup: float, start: float) -> float:
    """Share of the full rate in a linear warm-up, and 1 after it."""
    return start + (1 - start) * step / warmup if step < warmup else 1.0


def rescaled_cosine(step: int, steps: int, warmup: float, start: float, end: float) -> float:
    """Share of the full rate: the cosine spans what is left after the warm-up, and the last step reaches its end.

    Source: main_swav.py of the swav repository.
    """
    if step < warmup:
        return warm(step, warmup, start)
    return _cosine(min(1.0, (step - warmup) / max(1.0, steps - 1 - warmup)), end)


def fixed_cosine(step: int, steps: int, warmup: float, start: float, end: float) -> float:
    """Share of the full rate: the cosine spans all of training, and the warm-up hides its beginning.

    So the rate drops where the warm-up ends, to 99.5 % of the peak in SEER's 10B, and the last step is one short of the
    end. Source: fvcore's CompositeParamScheduler with interval_scaling [rescaled, fixed], as VISSL set it.
    """
    return warm(step, warmup, start) if step < warmup else _cosine(step / steps, end)


def _cosine(done: float, end: float) -> float:
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * done))


def _check_duration(name: str, text: str | int) -> None:
    try:
        Duration.parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_share(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {share:g}")
