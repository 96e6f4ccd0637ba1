"""The processes of a job, as far as checkpoints need them to talk: a few small messages, over a group of their own.

The group is gloo's, also where tensors travel by NCCL, and nothing else uses it. So its messages may pass in a second
thread while training's collectives run in the first. Without a process group a process is alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from pipeline.distributed import told_apart

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""How long processes wait for the slowest to write its part."""
_STOPPED = (
    "another process stopped while they worked on a checkpoint",
    "its own message says why; the same command goes on from the last checkpoint",
)


class Job:
    """`rank` of `world` processes. Making and closing one is a collective."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank = dist.get_rank() if together else 0
        self.world = dist.get_world_size() if together else 1
        self._group: Any = dist.new_group(backend="gloo", timeout=PATIENCE) if together else None

    @property
    def is_first(self) -> bool:
        """Whether this process does what the job does once."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the first one; an empty list in the others."""
        if self._group is None:
            return [value]
        found: list[Any] | None = [None] * self.world if self.is_first else None
        with told_apart(*_STOPPED):
            dist.gather_object(value, found, group=self._group)
        return found or []

    def tell(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self._group is None:
            return value
        box = [value]
        with told_apart(*_STOPPED):
            dist.broadcast_object_list(box, group=self._group)
        return box[0]

    def close(self) -> None:
        """Give the group back."""
        if self._group is not None:
            dist.destroy_process_group(self._group)
            self._group = None
