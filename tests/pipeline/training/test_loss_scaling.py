"""The loss scale against torch's GradScaler."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.training.loss_scaling import LossScaler
from pipeline.training.optimizers import SGD

SCALER = LossScaler.Config(initial=1024.0, growth=4.0, backoff=0.25, interval=3)
BAD = {4, 5, 12}
"""Steps whose loss overflows."""


def loss_of(module: nn.Linear, step: int) -> Tensor:
    draw = torch.Generator().manual_seed(step)
    images = torch.randn(4, 6, generator=draw).to(module.weight)
    loss: Tensor = module(images).square().mean()
    return loss * float("inf") if step in BAD else loss


def test_scale_and_parameters_move_as_with_torchs_grad_scaler() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(6, 3).double(), nn.Linear(6, 3).double()
    theirs.load_state_dict(ours.state_dict())
    optimizer = SGD.Config(rate=0.1, weight_decay=0.1, larc=None).build(ours, batch=256, scaler=SCALER)
    reference = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    scaler = torch.amp.GradScaler("cpu", 1024.0, 4.0, 0.25, 3)
    scales = []
    for step in range(16):
        optimizer.zero_grad()
        optimizer.scale(loss_of(ours, step)).backward()
        optimizer.step()
        reference.zero_grad()
        scaler.scale(loss_of(theirs, step)).backward()
        scaler.step(reference)
        scaler.update()
        scales.append(scaler.get_scale())
        assert optimizer.metrics["loss_scale"] == scales[-1]
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert set(scales) == {256, 1024, 4096}, "it grew and fell"
    assert optimizer.metrics["skipped"] == 3


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_a_scale_that_is_a_power_of_two_changes_nothing(clip_norm: float | None) -> None:
    config = SGD.Config(rate=0.1, clip_norm=clip_norm)
    networks, norms = [], []
    for scaler in (None, LossScaler.Config()):
        torch.manual_seed(0)
        module = nn.Linear(6, 3)
        optimizer = config.build(module, batch=256, scaler=scaler)
        for step in range(3):
            optimizer.zero_grad()
            optimizer.scale(loss_of(module, step)).backward()
            optimizer.step()
        networks.append(module)
        norms.append(optimizer.metrics["grad_norm"])
    assert torch.equal(networks[0].weight, networks[1].weight)
    assert norms[0] == norms[1] > 0.05


def test_small_gradients_that_fp16_would_lose_arrive() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)

    def step(scaler: LossScaler.Config | None) -> Tensor:
        optimizer = SGD.Config(rate=1.0, momentum=0.0, weight_decay=0.0, larc=None).build(module, 256, scaler)
        optimizer.zero_grad()
        scaled = optimizer.scale((module(torch.ones(1, 1)).half() * torch.tensor(1e-4).half()).float() * 1e-4)
        scaled.backward()
        optimizer.step()
        return optimizer.metrics["grad_norm"]

    assert step(None) == 0
    torch.testing.assert_close(step(LossScaler.Config()), torch.tensor(1e-8), rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    "change", [{"initial": 0.0}, {"growth": 0.5}, {"backoff": 1.0}, {"interval": 0}, {"initial": float("inf")}]
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        LossScaler.Config(**change)
