"""SGD with LARC against Apex, whole and sharded."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor
from torch.optim import Optimizer

from pipeline.training.larc import LARC
from pipeline.training.optimizers import SGD
from tests.distributed import on_processes
from tests.pipeline.training.gradients import network, set_gradients


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


def test_at_a_rate_of_zero_a_clipped_factor_is_one_and_not_undefined() -> None:
    sizes, slopes = torch.tensor([0.0, 2.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 3.0, 3.0])
    factors = LARC.Config(clip=True).build().factors(sizes, slopes, rate=0.0, decay=0.1)
    assert factors.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("change", [{"trust": 0.0}, {"eps": -1.0}])
def test_settings_that_mean_nothing_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        LARC.Config(**change)
