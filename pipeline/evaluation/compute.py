"""Where a frozen network runs and on how many processes: the `compute:` part of a recipe, and the processes together.

A process takes a contiguous share of the work and knows nothing of the others until `together`: a few numbers are
added up or handed to the first one. They travel over gloo, also where the network runs on GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline import distributed
from pipeline.errors import RunError

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""How long a process that is done waits for the slowest."""
_STOPPED = "another process stopped", "its own message says why; the same command goes on from what is done"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def _may_change(default: Any) -> Any:
    return field(default=default, metadata={"identity": False})


def gpu() -> torch.device:
    """The GPU of this process."""
    return torch.device("cuda", distributed.local_rank() % torch.cuda.device_count())


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How many processes share the work, and on what."""

    accelerator: Literal["auto", "cpu", "cuda"] = _may_change("auto")
    """Where the arithmetic runs."""
    devices: int = _may_change(1)
    """Processes per node, one for each GPU."""
    nodes: int = _may_change(1)
    """Nodes of the job; under SLURM as many as the job has."""

    def __post_init__(self) -> None:
        for name in ("devices", "nodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")

    @property
    def processes(self) -> int:
        """Processes of the whole job."""
        return self.devices * self.nodes

    def device(self) -> torch.device:
        """Where this process computes. Raises `RunError` for a GPU that is not there."""
        if self.accelerator == "cpu" or not torch.cuda.is_available():
            if self.accelerator == "cuda":
                raise RunError("compute.accelerator", "is cuda, and this machine has no GPU", "use auto or cpu")
            return torch.device("cpu")
        return gpu()


@dataclass(frozen=True, kw_only=True)
class Compute(Processes):
    """The same for a network: its precision, and how much at once."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the network: fp32, or autocast to bf16 or, on GPUs, fp16."""
    batch: int = _may_change(256)
    """Images per forward pass of a process."""
    threads: int = _may_change(2)
    """Threads per process that read and decode images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.precision == "fp16" and self.accelerator == "cpu":
            raise ValueError("precision fp16 is for GPUs; use bf16 or fp32")

    @property
    def dtype(self) -> torch.dtype:
        """`precision` as torch has it."""
        return _DTYPES[self.precision]

    def device(self) -> torch.device:
        """Where this process computes. Raises `RunError` for a GPU that is not there."""
        found = super().device()
        if found.type == "cpu" and self.precision == "fp16":
            raise RunError("compute.precision", "is fp16, and this machine has no GPU", "use bf16 or fp32")
        return found


class Team:
    """The processes of a job: `rank` of `world`. All of them call its methods, in the same order."""

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank() if joined else 0
        self.world: int = dist.get_world_size() if joined else 1

    @property
    def is_first(self) -> bool:
        """Whether this process does what the job does once."""
        return self.rank == 0

    def share(self, count: int, block: int = 1) -> range:
        """The part of range(count) that this process takes, from a multiple of `block` on; late ones may be empty."""
        blocks = -(-count // block)
        begin, end = (-(-blocks * rank // self.world) * block for rank in (self.rank, self.rank + 1))
        return range(min(begin, count), min(end, count))

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in all of them."""
        if self.world > 1:
            values = values.clone()
            with distributed.told_apart(*_STOPPED):
                dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """The values of all processes in order, in all of them. They are pickled: small ones of our own."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        with distributed.told_apart(*_STOPPED):
            dist.all_gather_object(found, value)
        return found


@contextmanager
def together() -> Iterator[Team]:
    """The processes of this job meet, and part at the end; a process alone meets nobody. A collective."""
    meets = distributed.world_size() > 1 and not dist.is_initialized()
    if meets:
        dist.init_process_group("gloo", rank=distributed.rank(), world_size=distributed.world_size(), timeout=PATIENCE)
    try:
        yield Team()
    finally:
        if meets:
            dist.destroy_process_group()
