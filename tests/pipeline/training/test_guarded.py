"""What every optimizer's step does besides its update: clipping, steps left out, counters, nothing read back."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.optim import Optimizer

from pipeline.training.guarded import Guarded
from pipeline.training.loss_scaling import LossScaler
from pipeline.training.optimizers import LARS, SGD, AdamW, AnyOptimizer
from tests.pipeline.training.gradients import network, set_gradients

CONFIGS: dict[str, AnyOptimizer] = {
    "sgd": SGD.Config(rate=0.1, weight_decay=0.1, larc=None),
    "sgd without momentum": SGD.Config(rate=0.1, momentum=0.0, larc=None),
    "larc": SGD.Config(rate=0.5, weight_decay=0.1),
    "lars": LARS.Config(rate=0.5, weight_decay=0.1),
    "adamw": AdamW.Config(rate=0.01),
}
each = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def tensors_of(module: nn.Module, optimizer: Optimizer) -> list[Tensor]:
    """Copies of the parameters and of all state that belongs to one."""
    state = [value for held in optimizer.state.values() for value in held.values()]
    return [tensor.detach().clone() for tensor in [*module.parameters(), *state]]


@each
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_leaves_everything_as_it_was_to_the_bit(config: AnyOptimizer, bad: float) -> None:
    module = network()
    optimizer = config.build(module, batch=256)
    set_gradients(module, 0)
    optimizer.step()
    before = tensors_of(module, optimizer)
    for row in (1, 2):
        set_gradients(module, 1)
        assert module[1].bias.grad is not None
        module[1].bias.grad[1] = bad
        optimizer.step()
        assert optimizer.metrics["skipped"] == optimizer.metrics["skipped_in_row"] == row
        assert not optimizer.metrics["grad_norm"].isfinite()
    for a, b in zip(tensors_of(module, optimizer), before, strict=True):
        assert torch.equal(a, b)


@each
def test_after_a_step_left_out_training_goes_on_as_if_it_had_not_been(config: AnyOptimizer) -> None:
    interrupted, other = network(), network()
    optimizers = [config.build(module, batch=256) for module in (interrupted, other)]
    for step in range(4):
        if step == 2:
            set_gradients(interrupted, 9)
            assert interrupted[0].weight.grad is not None
            interrupted[0].weight.grad.fill_(float("nan"))
            optimizers[0].step()
        for module, optimizer in zip((interrupted, other), optimizers, strict=True):
            set_gradients(module, step)
            optimizer.step()
    for a, b in zip(tensors_of(interrupted, optimizers[0]), tensors_of(other, optimizers[1]), strict=True):
        assert torch.equal(a, b)
    assert [int(optimizer.metrics["skipped"]) for optimizer in optimizers] == [1, 0]
    assert optimizers[0].metrics["skipped_in_row"] == 0


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_clipping_is_torchs(name: str) -> None:
    ours, theirs = network().double(), network().double()
    config, reference = {
        "sgd": (
            SGD.Config(rate=0.1, clip_norm=3.0, larc=None, weight_decay=0.1),
            torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9, weight_decay=0.1),
        ),
        "adamw": (
            AdamW.Config(rate=0.1, clip_norm=3.0, decay="all"),
            torch.optim.AdamW(theirs.parameters(), 0.1, weight_decay=0.05),
        ),
    }[name]
    optimizer = config.build(ours, batch=256)
    for step in range(4):
        for module in (ours, theirs):
            set_gradients(module, step)
            for p in module.parameters():
                assert p.grad is not None
                p.grad *= step / 3  # the first is zero, the second shorter than 3, the others longer
        expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 3.0)
        optimizer.step()
        reference.step()
        torch.testing.assert_close(optimizer.metrics["grad_norm"], expected, rtol=1e-14, atol=0)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_a_clipped_gradient_is_what_layer_wise_rates_see() -> None:
    """LARC moves a layer by a share of its size, however long the gradient, but a bias of zero by the gradient."""
    clipped, plain = network(), network()
    optimizers = [
        SGD.Config(rate=1.0, weight_decay=0.0, clip_norm=clip).build(module, batch=256)
        for module, clip in ((clipped, 0.5), (plain, None))
    ]
    for module, optimizer in zip((clipped, plain), optimizers, strict=True):
        set_gradients(module, 0)
        optimizer.step()
    shortened = 0.5 / optimizers[1].metrics["grad_norm"]
    assert shortened < 0.2
    torch.testing.assert_close(clipped[1].bias, plain[1].bias * shortened)
    torch.testing.assert_close(clipped[0].weight, plain[0].weight)


@each
def test_clipping_that_does_not_bite_changes_nothing_to_the_bit(config: AnyOptimizer) -> None:
    clipped, plain = network(), network()
    for module, clip in ((clipped, 1e6), (plain, None)):
        changed = replace(config, clip_norm=clip)
        optimizer = changed.build(module, batch=256)
        for step in range(3):
            set_gradients(module, step)
            optimizer.step()
    for a, b in zip(clipped.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


@each
def test_a_step_reads_nothing_back_from_the_device(config: AnyOptimizer) -> None:
    """Fake tensors have no values, so whatever would wait for the device to give one raises here."""
    with FakeTensorMode():
        module = network()
        optimizer = replace(config, clip_norm=1.0).build(module, 256, LossScaler.Config())
        for _ in range(2):
            optimizer.zero_grad()
            optimizer.scale(module(torch.randn(2, 6)).square().mean()).backward()
            optimizer.step()
        with pytest.raises(DataDependentOutputException):
            optimizer.metrics["skipped"].item()
    assert all(value.shape == () for value in optimizer.metrics.values())


def test_a_gradient_laid_out_otherwise_than_its_parameter_is_taken_for_what_it_is() -> None:
    """Fused kernels would walk through both in the order of memory, and say nothing."""
    torch.manual_seed(0)
    updates = []
    gradient = torch.randn(4, 3, 2, 2)
    for layout in (torch.contiguous_format, torch.channels_last):
        module = nn.Conv2d(3, 4, 2, bias=False)
        nn.init.zeros_(module.weight)
        module.weight.grad = gradient.to(memory_format=layout)
        SGD.Config(rate=1.0, larc=None).build(module, batch=256).step()
        updates.append(module.weight)
    torch.testing.assert_close(updates[1], updates[0], rtol=0, atol=0)
    torch.testing.assert_close(updates[0], -gradient, rtol=0, atol=0)


def test_a_closure_is_called_with_gradients_on_and_its_loss_given_back() -> None:
    module = network()
    optimizer = SGD.Config(rate=1.0).build(module, batch=256)

    def closure() -> Tensor:
        loss: Tensor = module(torch.ones(2, 6)).square().mean()
        loss.backward()
        return loss.detach()

    before = module[0].weight.detach().clone()
    assert optimizer.step(closure) > 0
    assert not torch.equal(module[0].weight, before)


@each
def test_state_exists_from_the_start_and_asking_for_it_changes_nothing(config: AnyOptimizer) -> None:
    """torch makes up the state of an optimizer that has none by a step of zeros."""
    module = network()
    optimizer = config.build(module, batch=256, scaler=LossScaler.Config(interval=1))
    before = tensors_of(module, optimizer)
    state = get_optimizer_state_dict(module, optimizer)
    assert set(state["state"]) == {name for name, _ in module.named_parameters()}
    assert optimizer.metrics["loss_scale"] == 65536
    for a, b in zip(tensors_of(module, optimizer), before, strict=True):
        assert torch.equal(a, b)


@each
def test_a_state_put_back_continues_to_the_bit_with_its_scale_and_counters(config: AnyOptimizer) -> None:
    """Also with a parameter whose gradient was held back before, as SwAV's prototypes' is at the start."""

    def steps(module: nn.Module, optimizer: Guarded, numbers: range) -> None:
        for step in numbers:
            set_gradients(module, step, leave_out="2.weight" if step == 0 else "")
            if step == 1:
                next(module.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]
            optimizer.step()

    module, later = network(), network(seed=1)
    optimizers = [config.build(net, 256, LossScaler.Config(interval=2)) for net in (module, later)]
    held = module[2].weight.detach().clone()
    steps(module, optimizers[0], range(1))
    assert torch.equal(module[2].weight, held)
    steps(module, optimizers[0], range(1, 2))
    state: dict[str, Any] = copy.deepcopy(get_optimizer_state_dict(module, optimizers[0]))
    counters = optimizers[1].metrics["skipped"]
    set_optimizer_state_dict(later, optimizers[1], state)
    later.load_state_dict(module.state_dict())
    assert optimizers[1].metrics["skipped"] is counters
    for net, optimizer in zip((module, later), optimizers, strict=True):
        steps(net, optimizer, range(2, 5))
    for a, b in zip(tensors_of(module, optimizers[0]), tensors_of(later, optimizers[1]), strict=True):
        assert torch.equal(a, b)
    assert optimizers[0].metrics == optimizers[1].metrics
    assert optimizers[1].metrics["skipped"] == 1
    assert optimizers[1].metrics["loss_scale"] == 65536, "halved once, doubled once"


def test_without_any_gradient_nothing_happens() -> None:
    module = network()
    optimizer = SGD.Config().build(module, batch=256)
    before = tensors_of(module, optimizer)
    optimizer.step()
    for a, b in zip(tensors_of(module, optimizer), before, strict=True):
        assert torch.equal(a, b)
