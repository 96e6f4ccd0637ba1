"""Colours left to the device are changed before an objective sees the crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data_shards.batch import Batch, Draw
from pipeline.objectives.objective import Objective, Outcome, Progress
from pipeline.training.module import ObjectiveModule
from pipeline.training.optimizers import SGD
from pipeline.training.schedules import WarmupCosine
from pipeline.training.settings import TrainerConfig
from pipeline.views import Crops, MultiCrop, Views
from tests.commands import Done, run
from tests.pipeline.networks import small_backbone
from tests.pipeline.views.photographs import decibels, encoded, photographs

KINDS = (Crops(count=2, size=32, scale=(0.3, 1.0)), Crops(count=2, size=16, scale=(0.1, 0.3)))


class Seen(Objective):
    """Keeps the views it is given."""

    def forward(self, views: Views, progress: Progress) -> Outcome:
        self.views = views
        return Outcome(torch.zeros(()), {})

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).square().sum(1)


@pytest.mark.parametrize("photometric", ["cpu", "device"])
def test_an_objective_sees_coloured_crops(photometric: str) -> None:
    views, whole = (
        MultiCrop.Config(crops=KINDS, photometric=where).build()  # type: ignore[arg-type]
        for where in (photometric, "cpu")
    )
    arrays, expected = views.allocate(9), whole.allocate(9)
    for row in range(9):
        image = encoded(photographs()[row % 3], "BMP")
        views.write(image, Draw(0, 0, row), arrays, row)
        whole.write(image, Draw(0, 0, row), expected, row)
    objective = Seen(small_backbone())
    module = ObjectiveModule(objective, SGD.Config(), WarmupCosine(), TrainerConfig(batch=9), steps=1, samples=9)
    optimizer = SGD.Config().build(objective, batch=9)
    module.optimizer = lambda: optimizer  # type: ignore[method-assign]
    module.training_step(Batch(arrays, np.arange(9), np.zeros(9, np.int64), 0, 9, 0.0), 0)
    assert objective.views.colours is None
    for crops, array in zip(objective.views.crops, expected, strict=True):
        assert crops.dtype == torch.uint8
        assert decibels(crops.permute(0, 1, 3, 4, 2).numpy(), array) > 45


@pytest.mark.slow
def test_a_run_with_colours_on_the_device_shows_the_crops_of_one_without(
    chain: tuple[Path, Done], recipes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = ("views.photometric=device", "trainer.duration=2 steps", "trainer.watch_every=0 steps")
    done = run("pretrain", str(recipes / "pretrain.yaml"), f"shards={chain[0] / 'shard'}", f"out={out}", *settings)
    assert done.status == 0, done.errors
    ours, theirs = (np.asarray(Image.open(path / "crops.png")) for path in (out, chain[0] / "pretrain"))
    assert decibels(ours[..., :3], theirs[..., :3]) > 45
