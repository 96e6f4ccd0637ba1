"""When the next checkpoint is due: every so many steps, or by what one costs and how often the job fails.

`Pace` is asked by the first process, after each step; the interval that the costs make right is in intervals.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pipeline import goodput
from pipeline.goodput import Account
from pipeline.training.intervals import FIRST, interval, mean_between_failures
from pipeline.training.schedules import Duration
from pipeline.training.settings import TrainerConfig


class Pace:
    """`every` steps, or where that is 0, by the clock: every `interval` of the costs that it is told."""

    def __init__(self, every: int, between: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`between` is the mean time between failures of the job, in seconds."""
        self.every, self.between, self._clock = every, between, clock
        self.stall = self.seconds = 0.0
        """What the last checkpoint took of training, and until it was safe; 0 as long as nothing is known."""
        self.is_measured = False
        self._since = clock()

    @classmethod
    def of(cls, settings: TrainerConfig, steps: int, per_epoch: float, starts: Sequence[Account]) -> Pace:
        """As a recipe asks for; `starts` are those that this run had before."""
        worked = sum(account.elapsed for account in starts)
        between = mean_between_failures(
            settings.hours_between_failures, settings.nodes, worked, goodput.failures(starts)
        )
        if settings.checkpoint_every == "auto":
            return cls(0, between)
        return cls(max(1, round(Duration.parse(settings.checkpoint_every).steps(per_epoch, steps))), between)

    @property
    def interval(self) -> float:
        """Seconds between saves, by the clock."""
        return interval(self.stall, self.seconds, self.between) if self.is_measured else FIRST

    def begin(self) -> None:
        """Count from now: training begins, or a checkpoint is taken."""
        self._since = self._clock()

    def cost(self, stall: float, seconds: float) -> None:
        """A checkpoint is safe that stopped training for `stall` seconds and took `seconds`."""
        self.stall, self.seconds, self.is_measured = stall, seconds, True

    def is_due(self) -> bool:
        """Whether it is time by the clock."""
        return self.every == 0 and self._clock() >= self._since + self.interval

    def is_due_at(self, step: int) -> bool:
        """Whether it is due after this step."""
        return self.every > 0 and step % self.every == 0
