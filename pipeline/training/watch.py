"""Watches what is being learnt: kNN accuracy on a small labelled set, a few times during pretraining.

The labels never reach the objective. With several processes the backbone is gathered and measured in the first one.
"""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.checkpoints.state import whole_tensors
from pipeline.evaluation.features import Features, extract
from pipeline.evaluation.knn import KNN
from pipeline.models.regnet import RegNet
from pipeline.runs import Run
from pipeline.training.module import ObjectiveModule
from pipeline.training.schedules import Duration
from pipeline.views import Evaluation

BANK, QUERY = 2000, 1000
"""Samples whose labels are known and samples asked about: enough for a curve, not for a table."""


class Watch(pl.Callback):
    """Records `knn` at the start, every so often, and at the end; does nothing where there is nothing to ask."""

    def __init__(
        self,
        run: Run,
        sets: tuple[ShardSet, ShardSet] | None,
        model: RegNet.Config,
        view: Evaluation.Config,
        every: str | int,
    ):
        self.run, self.sets, self.model, self.view, self.every = run, sets, model, view, Duration.parse(every)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        if self._interval(pl_module) and not any("knn" in record for record in self.run.records()):
            self._measure(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ObjectiveModule)
        every = self._interval(pl_module)
        if every and (pl_module.step % every == 0 or pl_module.step == pl_module.steps):
            self._measure(pl_module)

    def _interval(self, module: ObjectiveModule) -> int:
        """Steps between two measurements, 0 for never."""
        return round(self.every.steps(module.samples / module.settings.batch, module.steps))

    def _measure(self, module: ObjectiveModule) -> None:
        if self.sets is None:
            return
        began = time.perf_counter()
        tensors = whole_tensors(module.objective)
        if not self.run.writes:
            return
        backbone = self.model.build()
        backbone.load_state_dict(
            {k.removeprefix("backbone."): v for k, v in tensors.items() if k.startswith("backbone.")}
        )
        backbone.to(module.device)
        bank, query = (self._features(backbone, s, count) for s, count in zip(self.sets, (BANK, QUERY), strict=True))
        self.run.record(step=module.step, knn=round(KNN.Config().build().accuracy(bank, query), 4))
        module.measuring += time.perf_counter() - began

    def _features(self, backbone: RegNet, shard_set: ShardSet, count: int) -> Features:
        chosen = shard_set.spread(count)
        # Too many bad samples are the loader's of training to report, with the share that the recipe allows.
        ledger = Ledger(max_rate=1)
        with Loader(shard_set, self.view.build(), batch=256, shuffle=False, subset=chosen, ledger=ledger) as loader:
            return extract(backbone, loader)
