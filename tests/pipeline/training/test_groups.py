"""Which parameters are treated alike."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pipeline.models.batchnorm import convert
from pipeline.objectives import SwAV
from pipeline.training.groups import groups, is_offset, members
from tests.distributed import on_processes
from tests.pipeline.networks import small_backbone


class Odd(nn.Module):
    """Parameters whose number of dimensions says nothing about them."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(4, 3)
        self.norm = nn.LayerNorm((2, 4))
        self.gate = nn.Parameter(torch.ones(4))
        self.position_bias = nn.Parameter(torch.zeros(3, 4))
        self.held = nn.Parameter(torch.ones(2, 2), requires_grad=False)
        self.again = self.scores


def offsets(module: nn.Module) -> set[str]:
    return {member.name for member in members(module) if is_offset(member)}


def test_biases_normalisations_and_vectors_are_told_by_their_module_and_name() -> None:
    assert offsets(Odd()) == {"scores.bias", "norm.weight", "norm.bias", "gate", "position_bias"}
    assert [member.name for member in members(Odd())][-2:] == ["norm.weight", "norm.bias"]


@pytest.mark.parametrize("synchronised", [False, True])
def test_of_an_objective_all_but_the_weights_of_convolutions_and_linear_layers_are_offsets(synchronised: bool) -> None:
    objective = SwAV.Config(prototypes=30, hidden=(16,), dim=8).build(small_backbone())
    if synchronised:
        convert(objective)
    matrices = {f"{name}.weight" for name, m in objective.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    every = {name for name, _ in objective.named_parameters()}
    assert offsets(objective) == every - matrices - {"prototypes.weight"}


def offsets_of_shards(rank: int, world: int) -> set[str]:
    module = Odd()
    fully_shard(module, mesh=init_device_mesh("cpu", (world,)))
    return offsets(module)


def test_sharding_changes_nothing_about_it() -> None:
    assert on_processes(offsets_of_shards, 2) == [offsets(Odd())] * 2


def test_parameters_with_equal_settings_form_a_group_in_order_of_first_appearance() -> None:
    """As layer-wise rates need it: settings by name."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2, dtype=torch.float64))
    found = groups(module, lambda member: {"lr": 0.5 if member.name.startswith("1") else 1.0})
    assert [(group["lr"], len(group["params"])) for group in found] == [(1.0, 2), (0.5, 2), (1.0, 2)]
    assert found[2]["params"][0].dtype == torch.float64
