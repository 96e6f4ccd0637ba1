"""The objective and its optimizer as one process of the job would hold them, without memory for a single weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from pipeline.objectives.objective import Objective
from pipeline.plan.pretended import pretended_job, without_memory
from pipeline.training.assembly import prepare
from pipeline.training.guarded import Guarded
from pipeline.training.optimizers import AnyOptimizer
from pipeline.training.schedules import Schedule
from pipeline.training.settings import TrainerConfig
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
    doubts: tuple[str, ...] = ()
    """What the recipe itself finds doubtful."""

    def meta(self) -> Objective:
        """The objective on the meta device, whole."""
        with torch.device("meta"):
            return self.build()


@contextmanager
def assembled(training: Training, rank: int = 0) -> Iterator[tuple[Objective, Guarded]]:
    """The objective and optimizer of process `rank`, prepared as training prepares them, but not compiled."""
    trainer = replace(training.trainer, compile=False)
    with pretended_job(trainer.processes, rank):
        objective = training.meta()
        prepare(objective, trainer, "cpu")
        # The constants of the input are kept for later calls, which must not find them without memory.
        normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), objective.backbone.mean, objective.backbone.std)
        with without_memory():
            objective.to_empty(device="cpu")
            scaler = trainer.loss_scale if trainer.precision == "fp16" else None
            yield objective, training.optimizer.build(objective, batch=trainer.batch, scaler=scaler)
