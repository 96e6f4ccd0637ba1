"""The objective and its optimizer as one process of the job would hold them, without memory for a single weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.optim import Optimizer

from pipeline.models.batchnorm import convert
from pipeline.objectives.objective import Objective
from pipeline.plan.pretended import pretended_job, without_memory
from pipeline.training.optimizers import AnyOptimizer
from pipeline.training.recompute import recompute
from pipeline.training.schedules import Schedule
from pipeline.training.settings import TrainerConfig
from pipeline.training.sharding import shard
from pipeline.views.views import normalise


@dataclass(frozen=True, kw_only=True)
class Training:
    """What decides what a training takes: the parts of a recipe, and the size of its data."""

    build: Callable[[], Objective]
    crops: tuple[tuple[int, int], ...]
    """(views, side in pixels) of each group of crops."""
    optimizer: AnyOptimizer
    schedule: Schedule
    trainer: TrainerConfig
    samples: int | None = None
    """Of one epoch; None where that is not known."""

    def meta(self) -> Objective:
        """The objective on the meta device, whole."""
        with torch.device("meta"):
            return self.build()


@contextmanager
def assembled(training: Training, rank: int = 0) -> Iterator[tuple[Objective, Optimizer]]:
    """The objective and optimizer of process `rank`, assembled in the order in which `fit` does it."""
    trainer = training.trainer
    with pretended_job(trainer.processes, rank):
        objective = training.meta()
        if trainer.sync_batchnorm and trainer.processes > 1:
            convert(objective)
        recompute(objective.backbone, trainer.recompute)
        if trainer.precision == "fp64":
            objective.double()
        if trainer.processes > 1:
            shard(objective, init_device_mesh("cpu", (trainer.processes,)))
        # The constants of the input are kept for later calls, which must not find them without memory.
        normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), objective.backbone.mean, objective.backbone.std)
        with without_memory():
            objective.to_empty(device="cpu")
            yield objective, training.optimizer.build(objective, batch=trainer.batch)
