"""SGD with LARC against Apex, sharded against whole, and its state in checkpoints."""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor
from torch.optim import Optimizer

from pipeline.training.larc import LARC
from pipeline.training.norms import global_norms
from pipeline.training.optimizers import SGD, AdamW
from tests.distributed import on_processes


class ApexLARC:
    """apex/parallel/LARC.py, transcribed: wraps an optimizer and rewrites gradients before its step."""

    def __init__(self, optimizer: Optimizer, trust: float, clip: bool, eps: float) -> None:
        self.optimizer, self.trust, self.clip, self.eps = optimizer, trust, clip, eps

    @torch.no_grad()
    def step(self) -> None:
        decays = []
        for group in self.optimizer.param_groups:
            decay = group["weight_decay"]
            decays.append(decay)
            group["weight_decay"] = 0
            for p in group["params"]:
                if p.grad is None:
                    continue
                size, slope = p.norm(), p.grad.norm()
                if size != 0 and slope != 0:
                    rate = self.trust * size / (slope + size * decay + self.eps)
                    if self.clip:
                        rate = min(rate / group["lr"], 1)
                    p.grad += decay * p
                    p.grad *= rate
        self.optimizer.step()
        for group, decay in zip(self.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(3, 7, bias=False))
    with torch.no_grad():
        module[1].bias.zero_()
    return module


def set_gradients(module: nn.Module, step: int, leave_out: str = "") -> None:
    """Gradients that depend on the step and the parameter's name only, the whole of them on every process."""
    for number, (name, p) in enumerate(module.named_parameters()):
        draw = torch.Generator().manual_seed(100 * step + number)
        p.grad = torch.randn(p.shape, generator=draw).to(p)
        if name == "1.weight" and step == 1:
            p.grad.zero_()
        if name == leave_out:
            p.grad = None


CONFIGS = {
    "seer": SGD.Config(rate=0.5, weight_decay=0.1),
    "clipped": SGD.Config(rate=0.5, weight_decay=0.1, larc=LARC.Config(clip=True, trust=0.02)),
    "no decay, nesterov": SGD.Config(rate=0.5, weight_decay=0.0, nesterov=True),
    "decay on matrices": SGD.Config(rate=0.5, weight_decay=0.1, decay="matrices"),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_larc_equals_apex(config: SGD.Config) -> None:
    ours, theirs = network(), network()
    optimizer = config.build(ours, batch=512)
    assert config.larc is not None
    decayed = [[p for p in theirs.parameters() if config.decay == "all" or p.ndim > 1]]
    decayed += [[p for p in theirs.parameters() if p.ndim == 1]] if config.decay == "matrices" else []
    groups = [{"params": ps, "weight_decay": wd} for ps, wd in zip(decayed, (config.weight_decay, 0.0), strict=False)]
    plain = torch.optim.SGD(groups, 1.0, momentum=0.9, nesterov=config.nesterov)
    reference = ApexLARC(plain, config.larc.trust, config.larc.clip, config.larc.eps)
    for step in range(4):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        optimizer.step()
        reference.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert optimizer.param_groups[0]["weight_decay"] == config.weight_decay


def test_sgd_without_larc_is_torchs_sgd() -> None:
    ours, theirs = network().double(), network().double()
    optimizer = SGD.Config(rate=0.1, weight_decay=0.1, larc=None).build(ours, batch=256)
    reference = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for step in range(3):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        optimizer.step()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-16)


def steps_sharded(rank: int, world: int, config: SGD.Config) -> tuple[list[Tensor], int]:
    module = network()
    mesh = init_device_mesh("cpu", (world,))
    fully_shard(module[1], mesh=mesh)
    fully_shard(module, mesh=mesh)
    optimizer = config.build(module, batch=512)
    with mock.patch.object(dist, "all_reduce", wraps=dist.all_reduce) as reductions:
        for step in range(4):
            whole = network()
            set_gradients(whole, step)
            for mine, p in zip(module.parameters(), whole.parameters(), strict=True):
                assert p.grad is not None
                mine.grad = distribute_tensor(p.grad, mesh, mine.placements, src_data_rank=None)
            optimizer.step()
    return [p.full_tensor().detach() for p in module.parameters()], reductions.call_count


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("world", [2, 4])
def test_larc_on_shards_equals_larc_on_whole_tensors_with_one_collective_a_step(config: SGD.Config, world: int) -> None:
    """Biases of 3 and 5 leave some processes of four without a row."""
    whole = network()
    optimizer = config.build(whole, batch=512)
    for step in range(4):
        set_gradients(whole, step)
        optimizer.step()
    for tensors, reductions in on_processes(steps_sharded, world, config):
        assert reductions == 4
        for found, expected in zip(tensors, whole.parameters(), strict=True):
            torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=1e-7)


def test_norms_of_ordinary_tensors_need_no_processes() -> None:
    tensors = [torch.ones(4), torch.full((2, 2), 3.0), torch.zeros(3), torch.empty(0)]
    torch.testing.assert_close(global_norms(tensors), torch.tensor([2.0, 6.0, 0.0, 0.0]))


def test_momentum_exists_for_a_parameter_whose_gradient_was_held_back_and_changes_nothing_for_it() -> None:
    module, config = network(), SGD.Config()
    optimizer = config.build(module, batch=256)
    held = module[2].weight.detach().clone()
    set_gradients(module, 0, leave_out="2.weight")
    optimizer.step()
    assert torch.equal(module[2].weight, held)
    state = copy.deepcopy(get_optimizer_state_dict(module, optimizer))
    assert set(state["state"]) == {name for name, _ in module.named_parameters()}
    later = network(seed=1)
    other = config.build(later, batch=256)
    set_optimizer_state_dict(later, other, state)
    later.load_state_dict(module.state_dict())
    for step in (1, 2):
        for net, opt in ((module, optimizer), (later, other)):
            set_gradients(net, step)
            opt.step()
    for a, b in zip(module.parameters(), later.parameters(), strict=True):
        assert torch.equal(a, b)


def test_rates_scale_with_the_batch_and_groups_keep_the_full_rate() -> None:
    assert SGD.Config(rate=0.3).peak(8192) == pytest.approx(9.6)
    for config in (SGD.Config(rate=0.3), AdamW.Config(rate=0.3)):
        for group in config.build(network(), batch=512).param_groups:
            assert group["lr"] == group["base_lr"] == pytest.approx(0.6)


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
    assert all(state.get("momentum_buffer") is None for state in optimizer.state.values())


@pytest.mark.parametrize("change", [{"rate": 0.0}, {"momentum": 1.0}, {"nesterov": True, "momentum": 0.0}])
def test_an_optimizer_that_means_nothing_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        SGD.Config(**change)
