"""Watches what is being learnt: kNN accuracy on a small labelled set, a few times during pretraining.

Training stands still only while its backbone is copied: gathered tensor by tensor to the CPU of the first process,
where another process measures it (observer.py). The figure is recorded under the step that it belongs to, although
later, so records are not in order of step, and a resume drops it only with that step. After the last step training
waits for what is still to be measured, for `PATIENCE` at most. The labels never reach the objective.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl

from pipeline import preemption
from pipeline.checkpoints.state import whole_tensors
from pipeline.evaluation.observing import Found, Task
from pipeline.runs import Run
from pipeline.training.module import ObjectiveModule
from pipeline.training.observer import Observer
from pipeline.training.schedules import Duration

BACKBONE = "backbone."
PATIENCE = 600.0
"""Seconds that a training which is over waits for the last figures; `probe` may measure its checkpoint."""


class Watch(pl.Callback):
    """Records `knn` of the start, of every so often, and of the end; does nothing where there is nothing to ask."""

    def __init__(self, run: Run, task: Task | None, every: str | int):
        self.run, self.task, self.every = run, task, Duration.parse(every)
        self._observer: Observer | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        self._open(pl_module.step)
        # Gone on from a step that is due, it may be that the last start was killed before it had it written.
        if (every := self._interval(pl_module)) and pl_module.step % every == 0:
            self._hand_over(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = pl_module
        assert isinstance(module, ObjectiveModule)
        every = self._interval(module)
        if every and (module.step % every == 0 or module.step == module.steps):
            self._hand_over(module)
        if self._observer is not None:
            self._record(self._observer.poll())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        if pl_module.step == pl_module.steps:
            began = time.perf_counter()
            self._wait()
            pl_module.measuring += time.perf_counter() - began

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def finish(self, steps: int) -> None:
        """Measure what is left of a training of so many steps whose last start was told to stop when it was over."""
        self._open(steps)
        try:
            self._wait()
        finally:
            self._close()

    def _interval(self, module: ObjectiveModule) -> int:
        """Steps between two measurements, 0 for never."""
        return round(self.every.steps(module.samples / module.settings.batch, module.steps))

    def _open(self, step: int) -> None:
        if self.run.writes and self.task is not None:
            self._observer = Observer(self.run.path, self.task)
            self._observer.take_up(step, {int(record["step"]) for record in self.run.records() if "knn" in record})

    def _hand_over(self, module: ObjectiveModule) -> None:
        """Copy the backbone as it is now. A collective."""
        if self.task is None:
            return
        began = time.perf_counter()
        tensors = {}
        for name, tensor in whole_tensors(module.objective, BACKBONE):
            if self._observer is not None:
                tensors[name.removeprefix(BACKBONE)] = tensor.detach().to("cpu", copy=True).contiguous()
        if self._observer is not None:
            self._observer.hand_over(module.step, tensors)
        module.measuring += time.perf_counter() - began

    def _record(self, found: Iterable[Found]) -> None:
        assert self._observer is not None
        for one in found:
            self.run.record(step=one.step, knn=round(one.knn, 4))
            self._observer.done(one.step)

    def _wait(self) -> None:
        """Until all is measured, or it takes too long; told to stop, the next start does it."""
        if self._observer is None:
            return
        self._record(self._observer.wait(PATIENCE, lambda: preemption.told() is not None))
        if self._observer.is_busy and preemption.told() is None:
            print(
                f"warning: kNN accuracy of the last steps is not known after {PATIENCE:.0f} s of waiting; "
                "`python -m pipeline probe` measures the checkpoint",
                flush=True,
            )
            self._close(keep=False)

    def _close(self, *, keep: bool = True) -> None:
        if self._observer is not None:
            observer, self._observer = self._observer, None
            observer.close(keep=keep)
