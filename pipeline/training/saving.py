"""Saves a checkpoint every so many steps and after the last; never of a training that has come to no number.

One that is due while the loss is no number waits for the next step at which it is one.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from data_shards.loader import Loader
from pipeline.checkpoints.state import training_state
from pipeline.checkpoints.store import FOLDER, save
from pipeline.runs import Run, disk_error
from pipeline.training.module import ObjectiveModule
from pipeline.training.soundness import broken, is_sound


class Saving(pl.Callback):
    """Writes `training_state` and the state of the stream into the run directory every `every` steps."""

    def __init__(self, run: Run, loader: Loader, every: int, keep: int) -> None:
        self.run, self.loader, self.every, self.keep = run, loader, every, keep
        self.due = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        module = pl_module
        self.due |= module.step % self.every == 0 or module.step == module.steps
        assert module.loss is not None
        if not self.due:
            return
        if not is_sound(module.objective, module.loss):
            if module.step == module.steps:
                raise broken("a weight or the loss of a process is no number", module.step, self.run)
            return
        self.due = False
        state = training_state(module.objective, module.optimizer())
        # Lightning has fetched a batch ahead: what was trained on, the module knows.
        stream = self.loader.state_dict() | {"consumed": module.consumed, "number": module.step}
        counts = {"step": module.step, "consumed": module.consumed}
        try:
            save(self.run.path, state, **counts, keep=self.keep, stream=stream)
        except OSError as error:
            raise disk_error(self.run.path / FOLDER, error) from error
