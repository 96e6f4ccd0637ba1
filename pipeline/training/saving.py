"""Saves a checkpoint every so many steps and after the last; never of a training that has come to no number.

One that is due while the loss is no number waits for the next step at which it is one. Files are written while training
goes on (checkpoints/saver.py); what goes wrong there stops training after the step that it is at.
"""

from __future__ import annotations

import json
from typing import Any

import pytorch_lightning as pl

from data_shards.loader import Loader
from pipeline.checkpoints.state import training_state
from pipeline.checkpoints.store import Position, Retention, Saved, Saver
from pipeline.errors import RunError
from pipeline.runs import CONFIG, METRICS, Run
from pipeline.training.module import ObjectiveModule
from pipeline.training.soundness import broken, is_sound


class Saving(pl.Callback):
    """Writes `training_state` and the state of the stream into the run directory every `every` steps.

    metrics.jsonl gets, once a checkpoint is safe, the seconds that training stood still for it (`checkpoint_stall`) and
    those it took in all (`checkpoint_seconds`).
    """

    def __init__(self, run: Run, loader: Loader, every: int, retention: Retention) -> None:
        self.run, self.loader, self.every = run, loader, every
        self.retention = retention
        self.due = False
        self.newest: Saved | None = None
        """The last checkpoint that is safe on the disk."""
        self._figures: dict[str, float] = {}
        self._read = 0
        self._saver: Saver | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        config = self.run.path / CONFIG
        text = config.read_text(encoding="utf-8") if self.run.writes and config.exists() else ""
        self._saver = Saver(self.run.path, self.retention, config=text)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        assert self._saver is not None
        module = pl_module
        self._saver.check()
        self._record()
        self.due |= module.step % self.every == 0 or module.step == module.steps
        assert module.loss is not None
        if not self.due:
            return
        if is_sound(module.objective, module.loss):
            self.save(module)
        elif module.step == module.steps:
            raise broken("a weight or the loss of a process is no number", module.step, self.run)

    def save(self, module: ObjectiveModule) -> None:
        """A checkpoint of the step just done: in the background, but of the last step here and now. A collective."""
        assert self._saver is not None
        self.due = False
        # Lightning has fetched a batch ahead: what was trained on, the module knows.
        stream = self.loader.state_dict() | {"consumed": module.consumed, "number": module.step}
        position = Position(step=module.step, consumed=module.consumed, stream=stream, figures=self._measured())
        last = module.step == module.steps
        self._saver.save(training_state(module.objective, module.optimizer()), position, wait=last)
        self._record()

    def finish(self) -> None:
        """Wait until the checkpoint at work is safe. Raises `RunError` where the disk does not take it."""
        if self._saver is not None:
            self._saver.finish()
            self._record()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """What was copied before training stopped is good: it is let finish."""
        try:
            self.finish()
        except RunError as error:
            print(error)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._saver is not None:
            saver, self._saver = self._saver, None
            saver.close()

    def _record(self) -> None:
        """Into metrics.jsonl, what the checkpoints cost that have become safe."""
        assert self._saver is not None
        for saved, stall, seconds in self._saver.safe():
            self.newest = saved
            self.run.record(step=saved.step, checkpoint_stall=round(stall, 4), checkpoint_seconds=round(seconds, 4))

    def _measured(self) -> dict[str, float]:
        """The newest value of each figure in metrics.jsonl; only what was added since the last save is read."""
        path = self.run.path / METRICS
        if self.run.writes and path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    self._read += len(line)
                    numbers = {k: v for k, v in json.loads(line).items() if isinstance(v, int | float)}
                    self._figures |= {k: v for k, v in numbers.items() if k != "step"}
        return dict(self._figures)
