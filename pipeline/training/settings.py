"""The `trainer:` part of a recipe: how long, in what batches, at what precision, on how many processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.training.schedules import Duration

_EITHER = {"identity": False}
"""Marks what may change between restarts without changing the result."""


def _may_change(default: Any) -> Any:
    return field(default=default, metadata=_EITHER)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Length, batch, precision, processes, and what is written meanwhile."""

    duration: str | int = "100 epochs"
    """Length of training: "100 epochs", "5k steps", or a number of steps."""
    batch: int = 256
    """Images per step over all processes; each process takes an equal share."""
    precision: Literal["bf16", "fp32", "fp64"] = "bf16"
    """Arithmetic of the backbone: bf16 autocast with fp32 weights, fp32 throughout, or fp64, for comparing runs."""
    recompute: tuple[int, ...] = ()
    """Blocks of the backbone, numbered from 0, that save memory by computing their activations again when needed."""
    sync_batchnorm: bool = True
    """Whether BatchNorm sees the global batch, so that the number of processes does not change the result."""
    accelerator: Literal["auto", "cpu", "cuda"] = _may_change("auto")
    """Where the arithmetic runs."""
    devices: int = _may_change(1)
    """Processes per node, one for each GPU; more than one shards weights, gradients and optimizer state with FSDP2."""
    nodes: int = _may_change(1)
    """Nodes of the job; under SLURM as many as the job has."""
    threads: int = _may_change(2)
    """Threads per process that read, decode and crop images: the cores of a node by its GPUs; up to 16 pay in full."""
    stall_seconds: float = _may_change(300.0)
    """Seconds without a finished sample after which the threads of the loader are taken to be stuck."""
    on_stall: Literal["stop", "wait"] = _may_change("stop")
    """What is done then, once the samples that they hold are named: stop the run, or go on waiting."""
    checkpoint_every: str | int = _may_change("5%")
    """How often a checkpoint is saved: "500 steps", "1 epochs", "5%" of training."""
    keep: int = _may_change(2)
    """Checkpoints kept per run; older ones are removed."""
    log_every: int = _may_change(10)
    """Steps per record in metrics.jsonl."""
    watch_every: str | int = _may_change("25%")
    """How often kNN accuracy is measured during pretraining, where the shard set has labels; "0 steps" for never."""
    wandb: Literal["auto", "offline", "off"] = _may_change("auto")
    """Weights & Biases: auto is online with WANDB_API_KEY set and offline otherwise."""
    project: str = _may_change("seer-pipeline")
    """Weights & Biases project."""

    def __post_init__(self) -> None:
        processes = self.devices * self.nodes
        if self.batch < 1 or self.devices < 1 or self.nodes < 1 or self.threads < 1:
            raise ValueError("batch, devices, nodes and threads must be at least 1")
        if self.stall_seconds <= 0:
            raise ValueError("stall_seconds must be above 0")
        if self.batch % processes:
            near = max(processes, round(self.batch / processes) * processes)
            raise ValueError(
                f"batch {self.batch} cannot be shared by {processes} processes; {near} can, or change devices or nodes"
            )
        for name in ("duration", "checkpoint_every", "watch_every"):
            try:
                Duration.parse(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if str(self.duration).endswith("%"):
            raise ValueError("duration is a share of itself; give it in epochs or steps")

    @property
    def processes(self) -> int:
        """Processes of the whole job."""
        return self.devices * self.nodes
