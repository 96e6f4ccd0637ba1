"""A small network in training, whole or sharded over processes, for the tests of checkpoints."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pipeline.checkpoints.state import State, training_state

Training = tuple[nn.Module, torch.optim.Optimizer]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 3), nn.Linear(3, 1, bias=False))


def trained(steps: int = 3, seed: int = 0, optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW) -> Training:
    """After some steps on random numbers; the same for the same arguments."""
    net = network(seed)
    opt = optimizer(net.parameters(), lr=0.1)
    for _ in range(steps):
        step((net, opt))
    return net, opt


def step(training: Training) -> None:
    net, opt = training
    opt.zero_grad()
    net(torch.randn(16, 4)).square().mean().backward()
    opt.step()


def sharded(world: int, kind: str, steps: int = 3) -> Training:
    """Weights and momenta of `trained`: in shards (fsdp), in shards with copies (hsdp) or whole everywhere (ddp)."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    whole = training_state(*trained(steps))
    net = network(seed=1)
    if kind == "fsdp":
        fully_shard(net, mesh=init_device_mesh("cpu", (world,)))
    elif kind == "hsdp":
        fully_shard(net, mesh=init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("copies", "shards")))
    opt = torch.optim.AdamW(net.parameters(), lr=0.1)
    set_state_dict(
        net,
        opt,
        model_state_dict=whole["objective"],
        optim_state_dict=whole["optimizer"],
        options=StateDictOptions(full_state_dict=True),
    )
    dist.barrier()
    return net, opt


def state_of(training: Training) -> State:
    return training_state(*training)


def whole(state: State) -> dict[str, Any]:
    """Every tensor of a state, whole, by its name in a checkpoint. A collective."""
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.tensor import DTensor

    planner = DefaultSavePlanner()
    planner.set_up_planner(state, None, True)
    found = {}
    for item in planner.create_local_plan().items:
        tensor = planner.state_dict[item.index.fqn]
        if isinstance(tensor, torch.Tensor):
            found[item.index.fqn] = (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()
    return found
