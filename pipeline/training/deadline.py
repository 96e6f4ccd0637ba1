"""The end that SLURM has set for a job: training stops in time before it, also where no signal comes.

SLURM sends its signal a fixed time before the end, whatever a save takes (`sbatch --signal=USR2@120` in slurm/). Here
the measured time of a save counts, twice, and a margin.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MARGIN = 20.0
"""Seconds that are left beside the save: for a step, for the way out, and for a clock that differs."""
AGAIN = 20.0
"""Seconds between two questions, as the end comes near: it may have been moved."""
LEAD = 120.0
"""Seconds before the end at which slurm/*.sbatch have SLURM send its signal."""


class Deadline:
    """When the job ends; None for never. Only the first process asks SLURM, and tells the others to stop."""

    def __init__(self, ask: Callable[[], float | None] = lambda: None, clock: Callable[[], float] = time.time) -> None:
        self._ask, self._clock = ask, clock
        self._asked = clock()
        self.ends = ask()

    def is_near(self, saving: float) -> bool:
        """Whether to stop now, with a save that takes `saving` seconds."""
        reserve = 2 * saving + MARGIN
        if self.ends is None or self._clock() + reserve < self.ends:
            return False
        if self._clock() >= self._asked + AGAIN:
            self._asked, self.ends = self._clock(), self._ask()
        return self.ends is not None and self._clock() + reserve >= self.ends


def too_slow(saving: float, lead: float = LEAD) -> str:
    """The sentence for a save that takes longer than a signal leaves time for; empty where it does not."""
    if saving < lead:
        return ""
    needed = round(1.5 * saving + MARGIN)
    return (
        f"a checkpoint takes {saving:.0f} s, and SLURM tells a job to stop {lead:.0f} s before it takes its nodes; "
        f"submit it with --signal=USR2@{needed}, and a GraceTime of its partition that is as long"
    )
