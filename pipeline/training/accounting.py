"""Keeps the account of this start (`goodput.py`): what the first process measures beside training."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl

from pipeline import goodput, slurm
from pipeline.goodput import Account
from pipeline.runs import Run
from pipeline.training.module import ObjectiveModule


class Accounting(pl.Callback):
    """Writes how the account stands when the first step begins and whenever `TrainerConfig.records` says so.

    Made as soon as it is known which step is gone on from. It comes after `Saving` among the callbacks.
    """

    def __init__(self, run: Run, begin: int) -> None:
        self.run = run
        before = goodput.read(run.path) if run.writes else []
        self.account = Account(start=len(before) + 1, begin=begin, step=begin, began=goodput.since())
        if run.writes and (job := slurm.here()) is not None:
            self.account = replace(self.account, queue=slurm.waited(job) or 0.0)
        self._marked: float | None = None
        self._measured = 0.0
        self._write()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        self._marked, self._measured = time.perf_counter(), pl_module.measuring
        self.account = replace(self.account, start_up=max(0.0, time.time() - self.account.began))
        self._write()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        module = pl_module
        assert isinstance(module, ObjectiveModule)
        self.account = replace(self.account, data_wait=self.account.data_wait + module.wait)
        if module.settings.records(module.step, module.steps):
            self.take(module)

    def take(self, module: ObjectiveModule, end: str = "") -> None:
        """Bring the account up to the step just done, and write it."""
        if self._marked is not None:
            elapsed = time.perf_counter() - self._marked
            self.account = replace(
                self.account,
                step=module.step,
                elapsed=elapsed,
                checkpoint=module.saving,
                measuring=module.measuring - self._measured,
            )
        self.account = replace(self.account, end=end)
        self._write()

    def _write(self) -> None:
        if self.run.writes:
            goodput.append(self.run.path, self.account)
