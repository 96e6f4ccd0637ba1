"""What both sides of the CIFAR-10 comparison share: a budget of seconds that is spent in slices, and the measure.

The learning rate of each side follows the share of its budget that is spent, so that both end their schedule with it,
however fast they are. Measuring is outside the budget, and the same code for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.config import load
from pipeline.evaluation.features import Features, extract
from pipeline.evaluation.search.knn import KNN
from pipeline.models.backbone import Backbone
from pipeline.stages import pretrain

RECIPE = Path(__file__).parents[3] / "configs" / "cifar10" / "pretrain.yaml"


def recipe(shards: str, seed: int, threads: int) -> pretrain.Config:
    """Our recipe for CIFAR-10, on these shards."""
    return load(pretrain.Config, RECIPE, [f"shards={shards}", f"seed={seed}", f"trainer.threads={threads}"])


class Budget:
    """Seconds that are spent in slices."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.spent, self.steps = seconds, 0.0, 0

    def spend(self, seconds: float, step: Callable[[float], None]) -> None:
        """Call `step` with the share of the budget that is spent, until these seconds are over."""
        began = time.perf_counter()
        before = self.spent
        while self.spent < min(before + seconds, self.seconds):
            step(self.spent / self.seconds)
            self.steps += 1
            self.spent = before + time.perf_counter() - began


def accuracy(backbone: Backbone, shards: str, config: pretrain.Config, bank: int, queries: int, threads: int) -> float:
    """kNN accuracy on so many samples of `test`, whose neighbours are looked for among as many of `train`."""
    found = [
        _features(backbone, ShardSet(shards, s), config, n, threads) for s, n in (("train", bank), ("test", queries))
    ]
    return KNN.Config().build().accuracy(*found)


def _features(backbone: Backbone, shards: ShardSet, config: pretrain.Config, count: int, threads: int) -> Features:
    chosen, view = shards.spread(count), config.view.build()
    with Loader(shards, view, batch=256, shuffle=False, subset=chosen, threads=threads) as loader:
        return extract(backbone, loader)
