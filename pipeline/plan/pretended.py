"""A job of any number of processes, pretended by this one: collectives return at once and move nothing.

torch's fake backend, which torch keeps among its testing tools. With fake tensors (shapes and no memory) on it, one
process goes through a step of a job of hundreds exactly as its first process would.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore


@contextmanager
def pretended_job(world: int, rank: int = 0) -> Iterator[None]:
    """Within it this process is `rank` of a job of `world` processes; with a world of one there is no process group."""
    if world == 1:
        yield
        return
    assert not dist.is_initialized(), "this process belongs to a real job"
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def without_memory() -> FakeTensorMode:
    """Within it tensors have shapes and no memory."""
    return FakeTensorMode(allow_non_fake_inputs=True)
