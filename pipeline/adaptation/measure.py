"""What a step of fine-tuning takes here: memory, counted without taking any, and time, by taking a few.

Counted is what tensors hold; kernels borrow more for themselves, so a device is filled to `SAFE` of what is free.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from pipeline.models.initialise import initialise
from pipeline.models.regnet import RegNet
from pipeline.objectives import Classification
from pipeline.objectives.objective import Objective, Progress
from pipeline.plan.assembled import Training, assembled
from pipeline.plan.peak import black_views, peak
from pipeline.training.optimizers import AnyOptimizer
from pipeline.training.precision import autocast
from pipeline.training.schedules import WarmupCosine
from pipeline.training.settings import TrainerConfig

SAFE = 0.6
"""Share of the free memory that a step's tensors may take."""
LONG = 5.0
"""Seconds that a step may take to be measured."""
_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Steps of one fine-tuning at any size of picture and batch."""

    model: RegNet.Config
    objective: Classification.Config
    classes: int
    optimizer: AnyOptimizer

    def batch_that_fits(self, side: int, memory: int, most: int) -> int:
        """The largest power of two up to `most` whose step fits into `memory` bytes; 0 where not one image does."""
        two, four = (self._peak(side, batch) for batch in (2, 4))
        image = max(1, (four - two) // 2)
        fits = int((SAFE * memory - (two - 2 * image)) // image)
        if fits < 1:
            return 0
        return int(min(1 << (fits.bit_length() - 1), most))

    def images_per_second(self, side: int, batch: int) -> float:
        """How many images a step learns from a second, with the network where training would have it.

        Measured on `batch` images, or on two where so many would take more than `LONG` seconds.
        """
        two = self._fastest(side, 2)
        if batch <= 2 or two * batch / 2 > LONG:
            return 2 / two
        return batch / self._fastest(side, batch)

    def _fastest(self, side: int, batch: int) -> float:
        """Seconds of the fastest of a few steps."""
        training = self._training(side, batch)
        device = torch.device("cuda" if training.trainer.on_gpu else "cpu")
        objective = training.meta().to_empty(device=device).train()
        initialise(objective, 0)
        optimizer = self.optimizer.build(objective, batch)
        views, progress = black_views(training).to(device), Progress(steps=2)
        fastest = float("inf")
        for _ in range(_STEPS):
            began = time.perf_counter()
            with autocast(training.trainer, device):
                loss = objective(views, progress).loss
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()  # waits for a GPU
            fastest = min(fastest, time.perf_counter() - began)
        return fastest

    def _peak(self, side: int, batch: int) -> int:
        training = self._training(side, batch)
        with assembled(training) as (objective, optimizer):
            return peak(objective, optimizer, training).total

    def _training(self, side: int, batch: int) -> Training:
        return Training(
            build=self._build,
            crops=((1, side),),
            optimizer=self.optimizer,
            schedule=WarmupCosine(),
            trainer=TrainerConfig(batch=batch, duration=1),
        )

    def _build(self) -> Objective:
        return self.objective.build(self.model.build(), self.classes)
