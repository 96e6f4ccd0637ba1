"""Rates along the depth of the network: timm's, those of a recipe, and the same however the network is shared out."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

from pipeline.models import RegNet
from pipeline.models.initialise import clean_name
from pipeline.objectives import Classification, Objective
from pipeline.training.assembly import prepare
from pipeline.training.groups import groups, members
from pipeline.training.layers import Layers
from pipeline.training.optimizers import SGD, AdamW, AnyOptimizer
from pipeline.training.settings import TrainerConfig
from tests.distributed import on_processes
from tests.pipeline.networks import small_backbone


def on_meta(backbone: RegNet.Config | None = None) -> Objective:
    with torch.device("meta"):
        return Classification.Config().build(backbone.build() if backbone else small_backbone(), 3)


def factors(objective: Objective, layers: Layers) -> dict[str, float]:
    return {clean_name(member.name): layers.factor(member) for member in members(objective)}


def place(name: str) -> tuple[str, ...]:
    """Stem, stage and block, or head, by a name of ours or of timm's."""
    parts = tuple(name.removeprefix("backbone.").split("."))
    return parts[:2] if parts[0].startswith("s") and parts[0][1:].isdigit() else (("stem",) if "stem" in name else ())


def test_rates_by_block_are_those_of_timm() -> None:
    theirs: dict[tuple[str, ...], float] = {}
    network = timm.create_model("regnety_002")
    names = {parameter: name for name, parameter in network.named_parameters()}
    for group in param_groups_layer_decay(network, layer_decay=0.7):
        theirs |= {place(names[parameter]): group["lr_scale"] for parameter in group["params"]}
    ours: dict[tuple[str, ...], float] = {}
    for name, factor in factors(on_meta(RegNet.Config(size="regnety_200mf")), Layers(decay=0.7)).items():
        assert ours.setdefault(place(name), factor) == factor
    assert len(ours) == 1 + (1 + 1 + 4 + 7) + 1
    assert ours == pytest.approx(theirs)


def test_by_stage_all_blocks_of_a_stage_have_one_rate() -> None:
    found = factors(on_meta(), Layers(decay=0.5, unit="stage", head=3.0))
    assert {place(name)[:1]: factor for name, factor in found.items()} == {
        ("stem",): 0.125,
        ("s1",): 0.25,
        ("s2",): 0.5,
        (): 3.0,
    }
    assert len({factor for name, factor in found.items() if ".s2." in name}) == 1


@pytest.mark.parametrize("optimizer", [SGD.Config, AdamW.Config])
def test_groups_have_the_rate_and_decay_of_their_layer(optimizer: Any) -> None:
    layers = Layers(decay=0.5, head=10.0, head_weight_decay=1e-6)
    config: AnyOptimizer = optimizer(rate=0.2, per=4, weight_decay=1e-4, decay="matrices", layers=layers)
    objective = on_meta()
    found = {member.name: config.settle(member, batch=8) for member in members(objective)}
    assert found["classifier.weight"] == {"lr": 4.0, "base_lr": 4.0, "weight_decay": 1e-6}
    assert found["classifier.bias"] == {"lr": 4.0, "base_lr": 4.0, "weight_decay": 0.0}
    assert found["backbone.s2.b2.f.a.weight"] == {"lr": 0.2, "base_lr": 0.2, "weight_decay": 1e-4}
    assert found["backbone.s2.b1.f.a.weight"]["lr"] == 0.1
    assert found["backbone.stem.conv.weight"]["lr"] == pytest.approx(0.4 * 0.5**4)
    assert found["backbone.stem.bn.weight"]["weight_decay"] == 0
    made = groups(objective, lambda member: config.settle(member, 8))
    assert len(made) == 5 * 2, "stem, three blocks and classifier, each with and without decay"


def test_without_layers_all_parameters_have_the_full_rate() -> None:
    assert set(factors(on_meta(), Layers()).values()) == {1.0}
    plain = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert {Layers(decay=0.5).factor(member) for member in members(plain)} == {1.0}


def factors_of_shards(rank: int, world: int, trainer: TrainerConfig) -> dict[str, float]:
    objective = on_meta()
    prepare(objective, trainer, "cpu")
    return factors(objective, Layers(decay=0.5))


@pytest.mark.parametrize("changes", [{}, {"recompute": ((1,), (2,))}, {"pieces": 2}], ids=str)
def test_sharding_and_recomputation_change_nothing_about_them(changes: dict[str, Any]) -> None:
    trainer = TrainerConfig(batch=8, devices=2, **changes)
    assert on_processes(factors_of_shards, 2, trainer) == [factors(on_meta(), Layers(decay=0.5))] * 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"decay": 0.0}, "decay must be above 0"), ({"decay": 1.5}, "at most 1, not 1.5"), ({"head": 0.0}, "freeze")],
)
def test_what_cannot_be_is_a_mistake_in_the_recipe(changes: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Layers(**changes)  # type: ignore[arg-type]
