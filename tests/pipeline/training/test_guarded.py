"""What every optimizer's step does besides its update: loss scale, clipping, steps left out, counters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.training.optimizers import LARS, SGD, AdamW, AnyOptimizer

CONFIGS: dict[str, AnyOptimizer] = {
    "sgd": SGD.Config(rate=0.1, weight_decay=0.1, larc=None),
    "sgd without momentum": SGD.Config(rate=0.1, momentum=0.0, larc=None),
    "larc": SGD.Config(rate=0.5, weight_decay=0.1),
    "lars": LARS.Config(rate=0.5, weight_decay=0.1),
    "adamw": AdamW.Config(rate=0.01),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


def draw_gradients(module: nn.Module, step: int, times: float = 1.0) -> None:
    draw = torch.Generator().manual_seed(step)
    for p in module.parameters():
        p.grad = torch.randn(p.shape, generator=draw).to(p) * times


def tensors_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Parameters and all state that belongs to one."""
    state = [value for held in optimizer.state.values() for value in held.values()]
    return [tensor.detach().clone() for tensor in [*module.parameters(), *state]]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_leaves_everything_as_it_was_to_the_bit(config: AnyOptimizer, bad: float) -> None:
    module = network()
    optimizer = config.build(module, batch=256)
    draw_gradients(module, 0)
    optimizer.step()
    before = tensors_of(module, optimizer)
    for row in range(2):
        draw_gradients(module, 1)
        assert module[3].bias.grad is not None
        module[3].bias.grad[1] = bad
        optimizer.step()
        assert optimizer.metrics["skipped"] == optimizer.metrics["skipped_in_row"] == row + 1
        assert not optimizer.metrics["grad_norm"].isfinite()
    for a, b in zip(tensors_of(module, optimizer), before, strict=True):
        assert torch.equal(a, b)
    draw_gradients(module, 2)
    optimizer.step()
    assert optimizer.metrics["skipped"] == 2
    assert optimizer.metrics["skipped_in_row"] == 0
    assert not torch.equal(tensors_of(module, optimizer)[0], before[0])
