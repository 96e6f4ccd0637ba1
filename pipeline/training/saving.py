"""Saves a checkpoint when it is time and after the last step; and leaves with one when the job is told to stop.

Never of a training that has come to no number: a checkpoint that is due while the loss is no number waits for the next
step at which it is one. Files are written while training goes on (checkpoints/saver.py); what goes wrong there stops
training after the step that it is at.

    each step   every process says whether it was told to stop, the first also whether time is up and a save is due
    next step   all know (agreement.py), and do the same: save; or save, wait until it is safe, and leave. Where steps
                are long they all know at once
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytorch_lightning as pl

from data_shards.loader import Loader
from pipeline import preemption
from pipeline.checkpoints.store import Position, Retention, Saved, Saver
from pipeline.errors import RunError
from pipeline.runs import CONFIG, METRICS, Run
from pipeline.training.agreement import Agreement
from pipeline.training.deadline import Deadline, too_slow
from pipeline.training.module import ObjectiveModule
from pipeline.training.pace import Pace
from pipeline.training.soundness import broken, is_sound

SLOW = 1.0
"""Seconds of a step above which processes wait for one another at its end, rather than do another before they leave."""


class Saving(pl.Callback):
    """Writes `training_state` and the state of the stream into the run directory, when `pace` says so.

    metrics.jsonl gets, once a checkpoint is safe, the seconds that training stood still for it (`checkpoint_stall`) and
    those it took in all (`checkpoint_seconds`).
    """

    def __init__(
        self, run: Run, loader: Loader, pace: Pace, retention: Retention, deadline: Deadline | None = None
    ) -> None:
        self.run, self.loader, self.pace, self.retention = run, loader, pace, retention
        self.deadline = deadline or Deadline()
        self.due = False
        self.newest: Saved | None = None
        """The last checkpoint that is safe on the disk."""
        self.left = ""
        """Why training was left before its last step; empty where it was not."""
        self._copied = -1
        self._slow = False
        self._ended = 0.0
        self._figures: dict[str, float] = {}
        self._read = 0
        self._saver: Saver | None = None
        self._agreement: Agreement | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        config = self.run.path / CONFIG
        text = config.read_text(encoding="utf-8") if self.run.writes and config.exists() else ""
        self._saver = Saver(self.run.path, self.retention, config=text)
        self._agreement = Agreement()
        assert isinstance(pl_module, ObjectiveModule)
        self._copied = pl_module.step  # what was restored, or the beginning, needs no save
        self.pace.begin()
        if self._agreement.now(self._is_to_stop())[0]:
            self._leave(trainer, pl_module)
        self._ended = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        assert self._saver is not None
        assert self._agreement is not None
        module, began = pl_module, time.perf_counter()
        self._saver.check()
        self._record()
        ask = self._agreement.now if self._slow else self._agreement.exchange
        wishes = self._is_to_stop(), self.run.writes and self.pace.is_due(), began - self._ended > SLOW
        stop, due, self._slow = ask(*wishes)
        self.due |= due or self.pace.is_due_at(module.step) or module.step == module.steps
        assert module.loss is not None
        if stop and module.step < module.steps:
            self._leave(trainer, module)
        elif self.due and is_sound(module.objective, module.loss):
            self.save(module)
        elif self.due and module.step == module.steps:
            raise broken("a weight or the loss of a process is no number", module.step, self.run)
        self._ended = time.perf_counter()
        module.saving += self._ended - began

    def save(self, module: ObjectiveModule, *, wait: bool = False) -> None:
        """A checkpoint of the step just done: in the background, but of the last step here and now. A collective."""
        assert self._saver is not None
        self.due = False
        # Lightning has fetched a batch ahead: what was trained on, the module knows.
        stream = self.loader.state_dict() | {"consumed": module.consumed, "number": module.step}
        position = Position(step=module.step, consumed=module.consumed, stream=stream, figures=self._measured())
        last = module.step == module.steps
        self._saver.save(module.state(), position, wait=last or wait)
        self._copied = module.step
        self.pace.begin()
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
        if self._agreement is not None:
            agreement, self._agreement = self._agreement, None
            agreement.close()

    def _is_to_stop(self) -> bool:
        """Whether this process was told to stop, or the job's time is nearly up."""
        return preemption.told() is not None or (self.run.writes and self.deadline.is_near(self.pace.seconds))

    def _leave(self, trainer: pl.Trainer, module: ObjectiveModule) -> None:
        """Make sure of a checkpoint of this very step, and end training. A collective."""
        saved = module.step == self._copied
        if not saved and module.loss is not None and is_sound(module.objective, module.loss):
            self.save(module, wait=True)
            saved = True
        self.finish()
        number = preemption.told()
        why = f"told to stop by {number.name}" if number is not None else "the job's time is nearly up"
        state = "saved" if saved else f"not saved, because the loss is no number; step {self._copied} is"
        state = state if module.step else "the beginning"
        self.left = f"{why}; step {module.step} of {module.steps} is {state}"
        trainer.should_stop = True

    def _record(self) -> None:
        """Into metrics.jsonl, what the checkpoints cost that have become safe."""
        assert self._saver is not None
        for saved, stall, seconds in self._saver.safe():
            self.newest = saved
            first = not self.pace.is_measured
            self.pace.cost(stall, seconds)
            if self.run.writes and first and self.deadline.ends is not None and (doubt := too_slow(seconds)):
                print(f"warning: {doubt}", flush=True)
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
