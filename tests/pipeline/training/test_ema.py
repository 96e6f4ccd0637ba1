"""The average of the weights: timm's, the same on several processes, and carried by checkpoints to the bit."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed.checkpoint as dcp
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pipeline.checkpoints.state import AVERAGE, OBJECTIVE, set_training_state, training_state
from pipeline.objectives import Classification, Objective, Progress
from pipeline.objectives.mixing import Mixing
from pipeline.training.assembly import materialise, prepare
from pipeline.training.ema import Average
from pipeline.training.layers import Layers
from pipeline.training.optimizers import SGD
from pipeline.training.settings import TrainerConfig
from pipeline.training.sharding import replicate
from pipeline.views.views import Views
from tests.distributed import on_processes
from tests.pipeline.networks import random_views, small_backbone

STEPS, BATCH = 6, 16
CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 10), nn.BatchNorm1d(10), nn.Linear(10, 3, dtype=torch.float64))


@pytest.mark.parametrize("warm", [True, False])
def test_it_is_that_of_timm(warm: bool) -> None:
    ours, theirs = network(), network()
    average = Average.Config(decay=0.7, warm=warm).build(ours)
    expected = ModelEmaV3(theirs, decay=0.7, use_warmup=warm)
    for step in range(1, 9):
        for net in (ours, theirs):
            with torch.no_grad():
                torch.manual_seed(step)
                net[1](torch.randn(5, 10))
                for parameter in net.parameters():
                    parameter.add_(torch.randn_like(parameter))
        average.update(step)
        if warm:
            expected.update(theirs, step=step)
        else:
            expected.update(theirs)
    wanted = expected.module.state_dict()
    assert list(average.tensors) == list(wanted)
    assert int(average.tensors["1.num_batches_tracked"]) == 8
    for name, tensor in wanted.items():
        torch.testing.assert_close(average.tensors[name], tensor, msg=lambda text, name=name: f"{name}: {text}")
    assert not torch.allclose(average.tensors["0.weight"], ours[0].weight)


def test_the_decay_grows_with_the_steps_up_to_its_limit() -> None:
    config = Average.Config(decay=0.999)
    assert config.at(1) == 0
    assert config.at(1000) == pytest.approx(0.99)
    assert config.at(40_000) == 0.999
    assert Average.Config(decay=0.9, warm=False).at(1) == 0.9


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_keeps_everything_is_a_mistake_in_the_recipe(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be at least 0 and below 1"):
        Average.Config(decay=decay)


class Trained(NamedTuple):
    """Tensors whole, by their names in a checkpoint."""

    weights: dict[str, Tensor]
    average: dict[str, Tensor]


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def built(trainer: TrainerConfig) -> Objective:
    with torch.device("meta"):
        objective = Classification.Config(mixing=Mixing.Config(mixup=0.8, cutmix=1.0)).build(
            small_backbone(), 3, seed=1, dealt=True
        )
    prepare(objective, trainer, "cpu")
    materialise(objective, CPU, seed=0)
    return objective


def dealt(views: Views, rank: int, world: int) -> Views:
    """Every `world`-th sample, as a loader of several lanes deals them."""
    mine = slice(rank, None, world)
    return Views(tuple(crops[:, mine] for crops in views.crops), views.indices[mine], views.labels[mine])


def train(
    rank: int, world: int, trainer: TrainerConfig, first: int = 0, steps: int = STEPS, folder: Path | None = None
) -> Trained:
    """The steps from `first` on, from a checkpoint in `folder` and into another there, where one is given."""
    objective = built(trainer)
    called: Any = replicate(objective, trainer) if trainer.layout == "ddp" else objective
    rules = SGD.Config(rate=0.5, per=BATCH, larc=None, layers=Layers(decay=0.5, head=2.0))
    optimizer = rules.build(objective, batch=BATCH)
    average = Average.Config(decay=0.8).build(objective)
    if first:
        state = {**training_state(objective, optimizer), AVERAGE: average.tensors}
        dcp.load(state, checkpoint_id=folder / str(first), no_dist=world == 1)
        set_training_state(objective, optimizer, state)
        average.load(state[AVERAGE])
    for step in range(first, steps):
        optimizer.zero_grad()
        views = dealt(random_views(BATCH, ((1, 16),), seed=step), rank, world)
        called(views, Progress(step=step, steps=STEPS)).loss.backward()
        optimizer.step()
        average.update(step + 1)
    state = {**training_state(objective, optimizer), AVERAGE: average.tensors}
    if folder:
        dcp.save(state, checkpoint_id=folder / str(steps), no_dist=world == 1)
    return Trained(*({name: whole(tensor) for name, tensor in state[kind].items()} for kind in (OBJECTIVE, AVERAGE)))


@functools.cache
def alone() -> Trained:
    return train(0, 1, TrainerConfig(batch=BATCH, precision="fp64"))


def compare(found: Trained, **tolerance: float) -> None:
    for wanted, got in zip(alone(), found, strict=True):
        assert list(got) == list(wanted)
        for name, tensor in wanted.items():
            torch.testing.assert_close(got[name], tensor, **tolerance, msg=lambda text, name=name: f"{name}: {text}")


def test_in_these_runs_the_average_is_not_the_weights() -> None:
    weights, average = alone()
    assert list(average) == list(weights)
    for name in ("backbone.s2.b2.f.a.weight", "backbone.stem.bn.running_mean", "classifier.weight", "classifier.bias"):
        assert not torch.allclose(average[name], weights[name], rtol=1e-2), name


WAYS: dict[str, dict[str, Any]] = {
    "fsdp on two": {"devices": 2},
    "fsdp on four": {"devices": 4},
    "hsdp": {"devices": 2, "nodes": 2, "sharding": "hsdp"},
    "ddp": {"devices": 2, "sharding": "ddp"},
    "recomputed": {"devices": 2, "recompute": ((1,), (2,))},
}


@pytest.mark.parametrize("way", WAYS)
def test_steps_with_mixed_pictures_layered_rates_and_an_average_are_those_of_one_process(way: str) -> None:
    trainer = TrainerConfig(batch=BATCH, precision="fp64", **WAYS[way])
    for part in on_processes(train, trainer.processes, trainer):
        compare(part, rtol=1e-6, atol=1e-8)


def test_it_goes_on_to_the_bit_from_a_checkpoint(tmp_path: Path) -> None:
    trainer = TrainerConfig(batch=BATCH, precision="fp64")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        train(0, 1, trainer, 0, 3, tmp_path)
        compare(train(0, 1, trainer, 3, STEPS, tmp_path), rtol=0, atol=0)


def test_it_goes_on_whatever_shares_it_out(tmp_path: Path) -> None:
    on_processes(train, 2, TrainerConfig(batch=BATCH, precision="fp64", devices=2), 0, 2, tmp_path)
    ddp = TrainerConfig(batch=BATCH, precision="fp64", devices=2, sharding="ddp")
    on_processes(train, 2, ddp, 2, 4, tmp_path)
    four = TrainerConfig(batch=BATCH, precision="fp64", devices=4)
    for part in on_processes(train, 4, four, 4, STEPS, tmp_path):
        compare(part, rtol=1e-6, atol=1e-8)
