"""What one process wishes, known to all: so that they save, and leave, after the same step.

A wish is known to all one step after it was made: a step starts a reduction of a few bytes among the CPUs (gloo, in a
group of its own) and reads that of the step before, which has long arrived. Nothing waits for the device, and no
process for another more than training's own collectives make it. A process alone knows its wishes at once.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Agreement:
    """Of the processes of a job. Making, asking and closing it are collectives, called by all after the same steps."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self._group: Any = dist.new_group(backend="gloo") if together else None
        self._pending: tuple[Any, Tensor] | None = None

    def exchange(self, *wishes: bool) -> tuple[bool, ...]:
        """Wish something now; gives which wishes any process had when this was last called."""
        if self._group is None:
            return wishes
        before = self._arrived() or (False,) * len(wishes)
        mine = torch.tensor(wishes, dtype=torch.uint8)
        self._pending = dist.all_reduce(mine, dist.ReduceOp.MAX, group=self._group, async_op=True), mine
        return before

    def now(self, *wishes: bool) -> tuple[bool, ...]:
        """The same, known at once: waits for all processes. What was wished before and not yet heard is forgotten."""
        if self._group is None:
            return wishes
        self.exchange(*wishes)
        return self._arrived() or wishes

    def close(self) -> None:
        """Give the group back."""
        if self._group is not None:
            with contextlib.suppress(RuntimeError):  # a process that has failed is waited for in vain
                self._arrived()
            dist.destroy_process_group(self._group)
            self._group = None

    def _arrived(self) -> tuple[bool, ...] | None:
        """What the last reduction found, waiting for it; None where there was none."""
        if self._pending is None:
            return None
        (work, found), self._pending = self._pending, None
        work.wait()
        return tuple(map(bool, found.tolist()))
