"""Saves a checkpoint every so many steps and after the last; never of a training that has come to no number."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from pipeline.checkpoints.state import training_state
from pipeline.checkpoints.store import FOLDER, save
from pipeline.runs import Run, disk_error
from pipeline.training.module import ObjectiveModule
from pipeline.training.recording import require_finite


class Saving(pl.Callback):
    """Writes `training_state` into the run directory every `every` steps."""

    def __init__(self, run: Run, every: int, keep: int) -> None:
        self.run, self.every, self.keep = run, every, keep

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        module = pl_module
        if module.step % self.every and module.step != module.steps:
            return
        assert module.loss is not None
        require_finite(float(module.loss), module.step, self.run)
        state = training_state(module.objective, module.optimizer())
        try:
            save(self.run.path, state, step=module.step, consumed=module.consumed, keep=self.keep)
        except OSError as error:
            raise disk_error(self.run.path / FOLDER, error) from error
