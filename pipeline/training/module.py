"""An objective as a LightningModule: Lightning's hooks mapped onto the objective's four methods, and nothing else.

It knows no objective by name. It takes one from the meta device: once the processes have met, it is prepared, given
memory and weights (`assembly.py`), and loaded with a checkpoint where there is one. Its own count of steps and samples
is the truth that checkpoints carry; Lightning is asked to run the steps that remain.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from data_shards.batch import Batch
from pipeline.checkpoints.state import AVERAGE, State, set_training_state, training_state
from pipeline.checkpoints.store import Saved, restore
from pipeline.objectives.objective import Objective, Progress
from pipeline.training.assembly import materialise, prepare
from pipeline.training.ema import Average
from pipeline.training.guarded import Guarded
from pipeline.training.optimizers import AnyOptimizer
from pipeline.training.precision import autocast
from pipeline.training.prefetch import views_of
from pipeline.training.schedules import Schedule
from pipeline.training.settings import TrainerConfig
from pipeline.training.sharding import replicate
from pipeline.training.weights import Weights


class ObjectiveModule(pl.LightningModule):
    """Trains `objective`. `step` and `consumed` are the steps done and the samples the whole job has consumed."""

    def __init__(
        self,
        objective: Objective,
        optimizer: AnyOptimizer,
        schedule: Schedule,
        trainer: TrainerConfig,
        *,
        steps: int,
        samples: int,
        seed: int = 0,
        weights: Weights | None = None,
        average: Average.Config | None = None,
    ) -> None:
        super().__init__()
        self.seed, self.weights = seed, weights
        self.average_config = average
        self.average: Average | None = None
        """What is averaged over the steps, once training has started, where anything is."""
        self.objective = objective
        self.optimizer_config = optimizer
        self.schedule = schedule
        self.settings = trainer
        self.steps, self.samples = steps, samples
        self.step = 0
        self.consumed = 0
        self.rate = 0.0
        self.metrics: Mapping[str, Tensor] = {}
        self.loss: Tensor | None = None
        self.wait = 0.0
        self.saving = self.measuring = 0.0
        """Seconds in which training has stood still for checkpoints, and for what is measured meanwhile."""
        self._step_began = 0.0
        self._saved: Saved | None = None
        self._run: Any = objective
        """What a step calls: the objective, or DDP around it, which is no child so that names stay."""

    def progress(self) -> Progress:
        """Where training stands."""
        return Progress(
            step=self.step,
            steps=self.steps,
            epoch=self.step * self.settings.batch / self.samples,
            samples=self.step * self.settings.batch,
            recorded=self.settings.records(self.step + 1, self.steps),
        )

    def resume(self, saved: Saved) -> None:
        """Go on from a checkpoint: the counts now, the tensors once they are placed and sharded."""
        self.step, self.consumed, self._saved = saved.step, saved.consumed, saved

    def on_train_start(self) -> None:
        self._step_began = time.perf_counter()
        if self.average_config is not None:
            self.average = self.average_config.build(self.objective)
        if self._saved is not None:
            state = self.state()
            restore(self._saved, state)
            set_training_state(self.objective, self.optimizer(), state)
            if self.average is not None:
                self.average.load(state[AVERAGE])
            self._saved = None

    def state(self) -> State:
        """All that a checkpoint is to hold. A collective."""
        state = training_state(self.objective, self.optimizer())
        return state if self.average is None else {**state, AVERAGE: self.average.tensors}

    def configure_model(self) -> None:
        device = self.trainer.strategy.root_device
        prepare(self.objective, self.settings, device.type)
        materialise(self.objective, device, self.seed)
        if self.weights is not None and self._saved is None:
            self.weights.load(self.objective)
        if self.settings.layout == "ddp":
            object.__setattr__(self, "_run", replicate(self.objective, self.settings))

    def configure_optimizers(self) -> Optimizer:
        scaler = self.settings.loss_scale if self.settings.precision == "fp16" else None
        return self.optimizer_config.build(self.objective, batch=self.settings.batch, scaler=scaler)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Leave it: Lightning fetches a batch ahead, and `prefetch.py` has it moved by when `training_step` uses it."""
        return batch

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        before, now = ((step * self.settings.batch) // self.samples for step in (self.step - 1, self.step))
        if now > before:
            self.objective.start_epoch(self.samples, self.progress())
        factor = self.schedule.factor(self.step, self.steps, self.samples / self.settings.batch)
        for group in self.optimizer().param_groups:
            group["lr"] = group["base_lr"] * factor
        self.rate = self.optimizer_config.peak(self.settings.batch) * factor

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # The first batches were waited for before training began.
        self.wait = min(batch.wait, time.perf_counter() - self._step_began)
        views = views_of(batch, self.device)
        with autocast(self.settings, self.device):
            outcome = self._run(views, self.progress())
        self.loss, self.metrics = outcome.loss.detach(), outcome.metrics
        return self.optimizer().scale(outcome.loss)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.objective.adjust_gradients(self.progress())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.objective.finish_step(self.progress())
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        self._step_began = time.perf_counter()
        self.consumed += self.settings.batch

    def optimizer(self) -> Guarded:
        """The optimizer itself, without Lightning's wrapper."""
        wrapped = self.optimizers(use_pl_optimizer=False)
        assert isinstance(wrapped, Guarded)
        return wrapped
