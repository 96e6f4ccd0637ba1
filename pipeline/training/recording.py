"""Writes what happens: metrics.jsonl, the tracker, the progress line; stops where steps are skipped and skipped again.

Reading a loss waits for the device, so it is done once in `log_every` steps. Beside the objective's metrics stands
what the optimizer found: `grad_norm`, `skipped` (steps left out so far), and at fp16 `loss_scale`. A figure that is no
number is left out of its record.
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
from pipeline.runs import Run
from pipeline.training.module import ObjectiveModule
from pipeline.training.soundness import require_progress
from pipeline.training.tracking import Tracker


class Recording(pl.Callback):
    """Records the steps that `TrainerConfig.records` names, and how good the shuffle of an epoch is.

    `data_wait` is the share of the time in which the step waited for its batch.
    """

    def __init__(self, run: Run, loader: Loader, tracker: Tracker, line: ProgressLine) -> None:
        self.run, self.loader, self.tracker, self.line = run, loader, tracker, line
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
        if not module.settings.records(module.step, module.steps):
            return
        figures = self._figures(module)
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
        self.line.update(images, loss=figures.get("loss", math.nan), data_wait=f"{self.waited / seconds:.0%}")
        self.marked, self.marked_step, self.waited = now, module.step, 0.0

    def _figures(self, module: ObjectiveModule) -> dict[str, float]:
        """What the step gave, read from the device at once; raises `TrainingError` where training cannot go on."""
        found = _average({"loss": module.loss, **module.metrics, **module.optimizer().metrics})
        in_row, last = found.pop("skipped_in_row"), module.step == module.steps
        require_progress(found["loss"], in_row, module.settings.max_skipped, module.step, last, self.run)
        if module.settings.precision != "fp16":
            del found["loss_scale"]
        return {name: figure for name, figure in found.items() if math.isfinite(figure)}

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


def _average(values: dict[str, Any]) -> dict[str, float]:
    """Means over the processes, in one collective and one read of the device."""
    stacked = torch.stack([torch.as_tensor(value).detach().float().reshape(()) for value in values.values()])
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(stacked)
        stacked /= dist.get_world_size()
    return {name: round(value, 6) for name, value in zip(values, stacked.tolist(), strict=True)}
