"""Writes what happens: metrics.jsonl, the tracker, the progress line; stops at a loss that is no number.

Reading a loss waits for the device, so it is done once in `log_every` steps.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist

from data_shards.loader import Loader
from data_shards.ordering.shuffle_quality import measure
from data_shards.progress import Progress as ProgressLine
from pipeline.errors import TrainingError
from pipeline.runs import Run
from pipeline.training.module import ObjectiveModule
from pipeline.training.tracking import Tracker


class Recording(pl.Callback):
    """Records a step in every `every`, and the first and the last; and how good the shuffle of an epoch is.

    `data_wait` is the share of the time in which the step waited for its batch.
    """

    def __init__(self, run: Run, loader: Loader, tracker: Tracker, line: ProgressLine, every: int) -> None:
        self.run, self.loader, self.tracker, self.line, self.every = run, loader, tracker, line, every
        self.started = self.marked = time.perf_counter()
        self.marked_step = 0
        self.waited = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        self.marked, self.marked_step, self.waited = time.perf_counter(), pl_module.step, 0.0
        if not any("shuffle" in record for record in self.run.records()):
            self._record_shuffle(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = pl_module
        assert isinstance(module, ObjectiveModule)
        self.waited += module.wait
        epoch, previous = (n * module.settings.batch // module.samples for n in (module.step, module.step - 1))
        if epoch > previous and module.step < module.steps:
            self._record_shuffle(module)
        due = module.step % self.every == 0 or module.step in (1, module.steps)
        if not due:
            return
        figures = _average({"loss": module.loss, **module.metrics})
        require_finite(figures["loss"], module.step, self.run)
        now = time.perf_counter()
        seconds = max(now - self.marked, 1e-9)
        images = (module.step - self.marked_step) * module.settings.batch
        self.run.record(
            step=module.step,
            epoch=round(module.progress().epoch, 4),
            rate=module.rate,
            images_per_second=round(images / seconds, 2),
            data_wait=round(self.waited / seconds, 4),
            **self._cache(),
            **figures,
        )
        self.tracker.log({**figures, "rate": module.rate, "images_per_second": images / seconds}, module.step)
        self.line.update(images, loss=figures["loss"], data_wait=f"{self.waited / seconds:.0%}")
        self.marked, self.marked_step, self.waited = now, module.step, 0.0

    def _record_shuffle(self, module: ObjectiveModule) -> None:
        if self.run.writes and self.loader.shuffle:
            quality = measure(self.loader.stream, self.loader.batch, start=module.consumed)
            self.run.record(step=module.step, shuffle=round(quality.score, 4))
            self.tracker.log({f"shuffle/{name}": value for name, value in asdict(quality).items()}, module.step)

    def _cache(self) -> dict[str, float]:
        """What this process had from its cache since it began, where shards are fetched."""
        if not self.loader.sets.are_fetched:
            return {}
        had = self.loader.sets.statistics()
        return {"cache_misses": had.misses, "cache_bytes": had.bytes, "cache_wait": round(had.wait, 2)}


def require_finite(loss: float, step: int, run: Run) -> None:
    """Raise `TrainingError` for a loss that is no number."""
    if not math.isfinite(loss):
        raise TrainingError(
            str(run.path),
            f"the loss is {loss} at step {step}",
            "lower optimizer.rate or use trainer.precision=fp32, with another out=DIR; what was saved before is kept",
        )


def _average(values: dict[str, Any]) -> dict[str, float]:
    """Means over the processes, in one collective and one read of the device."""
    stacked = torch.stack([torch.as_tensor(value).detach().float().reshape(()) for value in values.values()])
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(stacked)
        stacked /= dist.get_world_size()
    return {name: round(value, 6) for name, value in zip(values, stacked.tolist(), strict=True)}
