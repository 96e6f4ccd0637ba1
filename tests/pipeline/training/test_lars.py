"""SGD with LARS against timm, and against a transcription of the paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.optim.lars import Lars
from torch import nn

from pipeline.training.optimizers import LARS
from tests.pipeline.training.gradients import network, set_gradients

RATES = (0.3, 1.0, 0.5, 0.01)
"""A schedule whose rates differ: where momentum holds the rate, and where not, shows only then."""


class PaperLARS:
    """You et al. 2017, algorithm 1, a parameter at a time; as in mmpretrain, norms of zero give a local rate of 1."""

    def __init__(self, module: nn.Module, *, trust: float, decay: float, momentum: float, nesterov: bool) -> None:
        self.module, self.trust, self.decay, self.momentum, self.nesterov = module, trust, decay, momentum, nesterov
        self.velocities = {name: torch.zeros_like(p) for name, p in module.named_parameters()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for name, p in self.module.named_parameters():
            excluded = name.endswith("bias")
            decay = 0.0 if excluded else self.decay
            size, slope = float(p.norm()), float(p.grad.norm())  # type: ignore[union-attr]
            local = 1.0
            if not excluded and size > 0 and slope > 0:
                local = self.trust * size / (slope + decay * size + 1e-8)
            update = rate * local * (p.grad + decay * p)
            velocity = self.velocities[name].mul_(self.momentum).add_(update)
            p.sub_(update + self.momentum * velocity if self.nesterov else velocity)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.1, 0.0])
def test_momentum_of_updates_is_algorithm_1_of_the_paper(nesterov: bool, decay: float) -> None:
    ours, theirs = network().double(), network().double()
    config = LARS.Config(rate=1.0, weight_decay=decay, trust=0.02, nesterov=nesterov, momentum_of="updates")
    optimizer = config.build(ours, batch=256)
    reference = PaperLARS(theirs, trust=0.02, decay=decay, momentum=0.9, nesterov=nesterov)
    for step, rate in enumerate(RATES):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        reference.step(rate)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


def timm_steps(module: nn.Module, *, nesterov: bool, decay: float, excluded: bool) -> None:
    offsets = [p for name, p in module.named_parameters() if name.endswith("bias") and excluded]
    matrices = [p for p in module.parameters() if all(p is not q for q in offsets)]
    groups = [{"params": matrices, "weight_decay": decay, "always_adapt": True}]
    groups += [{"params": offsets, "weight_decay": 0.0, "always_adapt": False}] if excluded else []
    optimizer = Lars(groups, lr=1.0, momentum=0.9, nesterov=nesterov, trust_coeff=0.02, eps=1e-8)
    for step, rate in enumerate(RATES):
        set_gradients(module, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.1, 0.0])
@pytest.mark.parametrize("excluded", [True, False])
def test_momentum_of_gradients_is_timms_lars(nesterov: bool, decay: float, excluded: bool) -> None:
    ours, theirs = network().double(), network().double()
    timm_steps(theirs, nesterov=nesterov, decay=decay, excluded=excluded)
    which: Any = "matrices" if excluded else "all"
    config = LARS.Config(rate=1.0, weight_decay=decay, trust=0.02, nesterov=nesterov, decay=which, adapt=which)
    optimizer = config.build(ours, batch=256)
    for step, rate in enumerate(RATES):
        set_gradients(ours, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


def test_the_two_momenta_agree_while_the_rate_stays_and_part_when_it_changes() -> None:
    def last(momentum_of: Any, rates: tuple[float, ...]) -> torch.Tensor:
        module = network().double()
        optimizer = LARS.Config(rate=1.0, momentum_of=momentum_of).build(module, batch=256)
        for step, rate in enumerate(rates):
            set_gradients(module, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        return module[0].weight.detach()

    torch.testing.assert_close(last("updates", (0.5,) * 4), last("gradients", (0.5,) * 4), rtol=1e-13, atol=0)
    assert not torch.allclose(last("updates", RATES), last("gradients", RATES), rtol=1e-6, atol=0)


def test_biases_and_normalisation_neither_decay_nor_adapt_unless_asked_to() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    groups = LARS.Config(weight_decay=0.1).build(module, batch=256).param_groups
    assert [(len(g["params"]), g["weight_decay"], g["adapt"]) for g in groups] == [(1, 0.1, True), (3, 0.0, False)]
    groups = LARS.Config(weight_decay=0.1, decay="all", adapt="all").build(module, batch=256).param_groups
    assert [(len(g["params"]), g["weight_decay"], g["adapt"]) for g in groups] == [(4, 0.1, True)]


@pytest.mark.parametrize(
    "change", [{"trust": 0.0}, {"eps": -1.0}, {"momentum": 1.0}, {"nesterov": True, "momentum": 0}]
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        LARS.Config(**change)
