"""SGD and AdamW against torch, the settings that all optimizers share, and a recipe's words for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torch.optim import Optimizer

from pipeline.training.guarded import Guarded
from pipeline.training.optimizers import LARS, SGD, AdamW, AnyOptimizer
from tests.pipeline.training.gradients import network, set_gradients


def references(module: nn.Module) -> dict[str, tuple[AnyOptimizer, Optimizer]]:
    every = list(module.parameters())
    matrices, vectors = [p for p in every if p.ndim > 1], [p for p in every if p.ndim == 1]

    def split() -> list[dict[str, Any]]:
        return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]

    return {
        "sgd": (SGD.Config(rate=0.1, weight_decay=0.1, larc=None), torch.optim.SGD(every, 0.2, 0.9, weight_decay=0.1)),
        "nesterov": (
            SGD.Config(rate=0.1, weight_decay=0.1, nesterov=True, decay="matrices", larc=None),
            torch.optim.SGD(split(), 0.2, 0.9, weight_decay=0.1, nesterov=True),
        ),
        "no momentum": (
            SGD.Config(rate=0.1, weight_decay=0.1, momentum=0.0, larc=None),
            torch.optim.SGD(every, 0.2, weight_decay=0.1),
        ),
        "adamw": (AdamW.Config(rate=0.1), torch.optim.AdamW(split(), 0.2, weight_decay=0.05)),
        "adamw, other settings": (
            AdamW.Config(rate=0.1, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.2, decay="all"),
            torch.optim.AdamW(every, 0.2, (0.5, 0.9), 1e-3, 0.2),
        ),
    }


@pytest.mark.parametrize("name", references(network()))
def test_without_layer_wise_rates_optimizers_are_torchs(name: str) -> None:
    """Also for a parameter whose gradient is held back at first, and at a rate that changes."""
    ours, theirs = network().double(), network().double()
    config, reference = references(theirs)[name]
    optimizer = config.build(ours, batch=512)
    for step in range(4):
        for module, built in ((ours, optimizer), (theirs, reference)):
            set_gradients(module, step, leave_out="0.bias" if step < 2 else "")
            for group in built.param_groups:
                group["lr"] = 0.2 - 0.05 * step
            built.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


def test_rates_scale_with_the_batch_and_groups_keep_the_full_rate() -> None:
    for config in (SGD.Config(rate=0.3), AdamW.Config(rate=0.3), LARS.Config(rate=0.3)):
        for group in config.build(network(), batch=512).param_groups:
            assert group["lr"] == group["base_lr"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("settings", "batch", "rate"),
    [
        ({"rate": 0.3}, 7936, 9.3),
        ({"rate": 0.3}, 8192, 9.6),
        ({"rate": 0.3, "per": None}, 8192, 0.3),
        ({"rate": 4.8, "per": 4096}, 2048, 2.4),
        ({"rate": 0.3, "scaling": "linear"}, 64, 0.075),
        ({"rate": 1e-3, "scaling": "sqrt"}, 1024, 2e-3),
    ],
)
def test_the_rate_of_a_batch_is_scaled_from_the_batch_it_is_meant_for(
    settings: dict[str, Any], batch: int, rate: float
) -> None:
    assert SGD.Config(**settings).peak(batch) == pytest.approx(rate)


@pytest.mark.parametrize("config", [SGD.Config(decay="matrices", weight_decay=0.1), AdamW.Config(weight_decay=0.1)])
def test_decay_on_matrices_leaves_biases_out(config: SGD.Config | AdamW.Config) -> None:
    groups = config.build(network(), batch=256).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [[p.ndim for p in group["params"]] for group in groups] == [[2, 2, 2], [1, 1]]


def test_without_momentum_there_is_no_state() -> None:
    module = network()
    optimizer = SGD.Config(momentum=0.0).build(module, batch=256)
    set_gradients(module, 0)
    optimizer.step()
    assert all(state == {} for state in optimizer.state.values())


@pytest.mark.parametrize(("name", "cls"), [("sgd", SGD), ("lars", LARS), ("adamw", AdamW)])
def test_a_recipe_names_its_optimizer(name: str, cls: type[Guarded]) -> None:
    config: AnyOptimizer = TypeAdapter(AnyOptimizer).validate_python({"name": name, "rate": 0.1, "clip_norm": 2.0})
    optimizer = config.build(network(), batch=256)
    assert type(optimizer) is cls
    assert optimizer.clip_norm == 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"rate": 0.0},
        {"rate": float("nan")},
        {"momentum": 1.0},
        {"nesterov": True, "momentum": 0.0},
        {"weight_decay": -1.0},
        {"clip_norm": 0.0},
        {"clip_norm": float("nan")},
        {"per": 0},
    ],
)
def test_an_optimizer_that_means_nothing_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        SGD.Config(**change)


@pytest.mark.parametrize("change", [{"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}, {"eps": 0.0}])
def test_an_adamw_that_means_nothing_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        AdamW.Config(**change)


def test_scaling_without_a_base_is_refused_with_both_cures() -> None:
    with pytest.raises(ValueError, match=r"no base to be scaled from; give .* per: 256, or leave scaling out"):
        SGD.Config(per=None, scaling="linear")
