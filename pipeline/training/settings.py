"""The `trainer:` part of a recipe: how long, in what batches, at what precision, on how many processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from pipeline.checkpoints.retention import Retention
from pipeline.errors import TrainingError
from pipeline.models.batchnorm import check_groups
from pipeline.training.compiling import find_compiler
from pipeline.training.loss_scaling import LossScaler
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
    pieces: int = 1
    """Parts in which a process runs the backbone on its share, to hold the activations of one; BatchNorm sees one."""
    precision: Literal["bf16", "fp16", "fp32", "fp64"] = "bf16"
    """Arithmetic of the backbone: autocast to bf16 or fp16 with fp32 weights, fp32, or fp64, for comparing runs."""
    loss_scale: LossScaler.Config = field(default_factory=LossScaler.Config)
    """How the loss is scaled at precision fp16."""
    max_skipped: int = _may_change(20)
    """Steps in a row left out for a gradient that is no number after which the run stops; seen when it records."""
    sync_batchnorm: bool | int = True
    """BatchNorm over the global batch (true), each process's share (false), or those of so many processes in groups."""
    recompute: Literal["none", "auto"] | tuple[tuple[int, ...], ...] = _may_change("none")
    """Blocks that compute their activations again to save memory: none, auto, or a stage's groups by their last blocks,
    counted from 1: [[2], [7], [9, 17], []]. What follows a stage's last number keeps its activations."""
    compile: bool = _may_change(False)
    """Whether torch compiles each block of the backbone; takes a C++ compiler on a CPU."""
    accelerator: Literal["auto", "cpu", "cuda"] = _may_change("auto")
    """Where the arithmetic runs."""
    devices: int = _may_change(1)
    """Processes per node, one for each GPU."""
    nodes: int = _may_change(1)
    """Nodes of the job; under SLURM as many as the job has."""
    sharding: Literal["auto", "fsdp", "hsdp", "ddp", "none"] = _may_change("auto")
    """What is shared out: weights, gradients and optimizer state over all processes (fsdp) or within each node (hsdp),
    or nothing (ddp; none, for one process); auto is fsdp for several processes."""
    gather: Literal["low", "fp32"] = _may_change("low")
    """Precision in which fsdp and hsdp send blocks' weights: that of the arithmetic (low), or fp32, with casts kept."""
    reduce: Literal["fp32", "bf16"] = "fp32"
    """Precision in which gradients of the backbone's blocks are summed over processes; fp64 stays fp64."""
    threads: int = _may_change(2)
    """Threads per process that read, decode and crop images: the cores of a node by its GPUs; up to 16 pay in full."""
    stall_seconds: float = _may_change(300.0)
    """Seconds without a finished sample after which the threads of the loader are taken to be stuck."""
    on_stall: Literal["stop", "wait"] = _may_change("stop")
    """What is done then, once the samples that they hold are named: stop the run, or go on waiting."""
    checkpoint_every: str | int = _may_change("auto")
    """How often a checkpoint is saved: "500 steps", "1 epochs", "5%" of training, or auto: by what one costs and how
    often nodes fail, after a minute first and every half hour at least."""
    hours_between_failures: float = _may_change(1000.0)
    """Hours between failures of a node, on average, that auto expects; those that the run meets count as well."""
    keep: int = _may_change(2)
    """Newest checkpoints kept per run; older ones are removed."""
    keep_every: int = _may_change(0)
    """Steps: checkpoints after a multiple of it are kept for good; 0 for none."""
    keep_best: int = _may_change(0)
    """So many checkpoints with the best `keep_figure` are kept as well."""
    keep_figure: str = _may_change("knn")
    """The figure of metrics.jsonl that says which are best, as it stood when the checkpoint was saved: `knn`, which is
    measured beside training, is then that of a step before."""
    keep_order: Literal["highest", "lowest"] = _may_change("highest")
    """Which values of `keep_figure` are best."""
    log_every: int = _may_change(10)
    """Steps per record in metrics.jsonl."""
    watch_every: str | int = _may_change("25%")
    """How often kNN accuracy is measured beside pretraining, where the shard set has labels; "0 steps" for never."""
    wandb: Literal["auto", "offline", "off"] = _may_change("auto")
    """Weights & Biases: auto is online with WANDB_API_KEY set and offline otherwise."""
    project: str = _may_change("seer-pipeline")
    """Weights & Biases project."""

    def __post_init__(self) -> None:
        for name in ("batch", "pieces", "devices", "nodes", "threads", "log_every", "max_skipped"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.keep < 1 or self.keep_every < 0 or self.keep_best < 0:
            raise ValueError("keep must be at least 1, keep_every and keep_best at least 0")
        if self.stall_seconds <= 0:
            raise ValueError("stall_seconds must be above 0")
        if self.hours_between_failures <= 0:
            raise ValueError("hours_between_failures must be above 0")
        for name in ("duration", "checkpoint_every", "watch_every"):
            if name == "checkpoint_every" and self.checkpoint_every == "auto":
                continue
            try:
                Duration.parse(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if str(self.duration).endswith("%"):
            raise ValueError("duration is a share of itself; give it in epochs or steps")
        self._check_processes()
        self._check_precision()

    def _check_processes(self) -> None:
        if self.batch % self.processes:
            near = max(self.processes, round(self.batch / self.processes) * self.processes)
            raise ValueError(
                f"batch {self.batch} cannot be shared by {self.processes} processes; {near} can, or change devices or "
                "nodes"
            )
        if self.share % self.pieces:
            fit = [str(n) for n in range(2, self.share + 1) if self.share % n == 0]
            raise ValueError(
                f"pieces: {self.share} images of each process cannot be cut into {self.pieces} equal pieces; "
                f"{', '.join(fit[:8])} can"
            )
        if self.batchnorm_group is not None:
            if self.sync_batchnorm is not True and self.batchnorm_group < 1:
                raise ValueError(
                    "sync_batchnorm must be true, false, or a number of processes that share statistics, not "
                    f"{self.sync_batchnorm}"
                )
            try:
                check_groups(self.batchnorm_group, self.processes)
            except ValueError as error:
                raise ValueError(f"sync_batchnorm: {error}") from None
        if self.processes == 1 and self.sharding not in ("auto", "none"):
            raise ValueError(
                f"sharding={self.sharding} is among several processes, but devices times nodes is 1; use auto, or more "
                "devices"
            )
        if self.processes > 1 and self.sharding == "none":
            raise ValueError(
                f"sharding=none is for one process, not {self.processes}; ddp keeps all weights in each of several"
            )
        if self.sharding == "hsdp" and (self.nodes == 1 or self.devices == 1):
            single = "nodes is 1; use fsdp" if self.nodes == 1 else "devices is 1; use ddp or fsdp"
            raise ValueError(f"sharding=hsdp shards within a node and replicates across nodes, but {single}")

    def _check_precision(self) -> None:
        if self.precision == "fp16" and self.accelerator == "cpu":
            raise ValueError(_FP16_ON_CPU)
        if self.precision == "fp64" and self.reduce == "bf16":
            raise ValueError("reduce=bf16 would round what precision=fp64 is for; use reduce=fp32")
        if isinstance(self.recompute, tuple):
            for stage, ends in enumerate(self.recompute, 1):
                if list(ends) != sorted(set(ends)) or (ends and ends[0] < 1):
                    raise ValueError(
                        f"recompute: groups of stage {stage} end at blocks {list(ends)}; give rising numbers from 1 on"
                    )

    def check_machine(self) -> None:
        """Raise `TrainingError` for what this machine cannot do; the rest is checked when a recipe is read."""
        if self.precision == "fp16" and not self.on_gpu:
            raise TrainingError("trainer.precision", "is fp16, and this machine has no GPU", _FP16_ON_CPU)
        if self.compile and not self.on_gpu and not find_compiler():
            raise TrainingError(
                "trainer.compile", "is true, and there is no C++ compiler here", "install g++, set CXX, or leave it out"
            )

    def check_stages(self, depths: tuple[int, ...]) -> None:
        """Raises ValueError where `recompute` names a stage or block that a backbone of such depths has not."""
        if not isinstance(self.recompute, tuple) or not self.recompute:
            return
        if len(self.recompute) != len(depths):
            raise ValueError(
                f"trainer.recompute has {len(self.recompute)} stages, but the backbone has {len(depths)}, of "
                f"{', '.join(map(str, depths))} blocks; give a list for each, such as {[[depth] for depth in depths]}"
            )
        for stage, (ends, depth) in enumerate(zip(self.recompute, depths, strict=True), 1):
            if ends and ends[-1] > depth:
                raise ValueError(
                    f"trainer.recompute ends a group at block {ends[-1]} of stage {stage}, which has {depth} blocks"
                )

    @property
    def retention(self) -> Retention:
        """Which checkpoints stay."""
        return Retention(
            last=self.keep,
            every=self.keep_every,
            best=self.keep_best,
            figure=self.keep_figure,
            order=self.keep_order,
        )

    @property
    def processes(self) -> int:
        """Processes of the whole job."""
        return self.devices * self.nodes

    @property
    def share(self) -> int:
        """Images of each process."""
        return self.batch // self.processes

    @property
    def on_gpu(self) -> bool:
        """Whether this machine runs it on a GPU."""
        return self.accelerator == "cuda" or (self.accelerator == "auto" and torch.cuda.is_available())

    @property
    def batchnorm_group(self) -> int | None:
        """Processes that BatchNorm shares statistics among, 0 for all, None for each by itself."""
        if self.sync_batchnorm is True:
            return 0
        return None if self.sync_batchnorm is False else self.sync_batchnorm

    @property
    def layout(self) -> Literal["fsdp", "hsdp", "ddp", "none"]:
        """`sharding`, decided."""
        if self.sharding == "auto":
            return "fsdp" if self.processes > 1 else "none"
        return self.sharding

    def records(self, step: int, steps: int) -> bool:
        """Whether the `step`-th step of `steps` is recorded: one in `log_every`, the first and the last."""
        return step % self.log_every == 0 or step in (1, steps)


_FP16_ON_CPU = "fp16 is for GPUs; use precision=bf16, or fp32"
