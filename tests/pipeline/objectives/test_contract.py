"""What every objective owes, whatever it is: each member of `AnyObjective` goes through all of this.

A new objective needs one entry in `SMALL`: a config that runs in milliseconds.
"""

from __future__ import annotations

import typing
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.evaluation.energy import gap
from pipeline.models.batchnorm import convert
from pipeline.objectives import AnyObjective, BarlowTwins, Classification, Objective, Progress, SwAV
from tests.distributed import on_processes
from tests.pipeline.networks import in_fp64, random_views, share_of, small_backbone

SMALL: dict[str, Any] = {
    "swav": SwAV.Config(prototypes=12, hidden=(16,), dim=8, freeze_prototypes=1),
    "barlow_twins": BarlowTwins.Config(hidden=(16,), dim=8),
    "classification": Classification.Config(),
}
NAMES = pytest.mark.parametrize("name", SMALL)


def build(name: str, seed: int = 0) -> Objective:
    torch.manual_seed(seed)
    classes = {"classes": 3} if name == "classification" else {}
    objective: Objective = SMALL[name].build(small_backbone(), **classes)
    return objective


def test_every_objective_of_the_union_is_here() -> None:
    union = typing.get_args(typing.get_args(AnyObjective)[0])
    assert {config.name for config in union} | {"classification"} == set(SMALL)
    assert all(type(SMALL[config.name]) is config for config in union)


@NAMES
def test_the_loss_is_a_finite_scalar_whose_gradient_reaches_every_layer_of_the_backbone(name: str) -> None:
    objective = build(name)
    outcome = objective(random_views(8), Progress())
    assert outcome.loss.shape == ()
    assert outcome.loss.isfinite()
    outcome.loss.backward()
    for layer, parameter in objective.backbone.named_parameters():
        assert parameter.grad is not None, layer
        assert parameter.grad.isfinite().all(), layer
        assert parameter.grad.abs().sum() > 0, layer


@NAMES
def test_metrics_are_detached_finite_scalars(name: str) -> None:
    for key, value in build(name)(random_views(8), Progress()).metrics.items():
        assert value.shape == (), key
        assert value.isfinite(), key
        assert not value.requires_grad, key


@NAMES
def test_the_energy_tells_matches_from_strangers_and_nothing_after_a_collapse(name: str) -> None:
    objective = build(name).eval()
    torch.manual_seed(1)
    features = torch.randn(16, objective.backbone.width)
    assert objective.energy(features, features).shape == (16,)
    apart = gap(objective.energy, features, features)
    collapsed = gap(objective.energy, features[:1].expand(16, -1), features[:1].expand(16, -1))
    assert collapsed == pytest.approx(0, abs=1e-6)
    assert abs(apart) > 1e-6


@NAMES
def test_state_survives_a_checkpoint(name: str) -> None:
    trained, fresh, views = build(name), build(name, seed=1), random_views(8)
    trained(views, Progress()).loss.backward()
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    trained.finish_step(Progress(step=1))
    fresh.load_state_dict(trained.state_dict())
    loss, again = trained(views, Progress()).loss, fresh(views, Progress()).loss
    torch.testing.assert_close(again, loss, rtol=0, atol=0)


@NAMES
def test_every_hook_of_a_step_can_be_called(name: str) -> None:
    objective, progress = build(name), Progress(step=0, steps=10)
    objective.start_epoch(8, progress)
    objective(random_views(8), progress).loss.backward()
    objective.adjust_gradients(progress)
    objective.finish_step(progress)
    scores = objective.prototype_scores(torch.zeros(4, objective.backbone.width))
    assert scores is None or len(scores) == 4


def gradients(objective: nn.Module) -> dict[str, Tensor]:
    return {key: p.grad.clone() for key, p in objective.named_parameters() if p.grad is not None}


def share_of_step(rank: int, world: int, name: str) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    objective = in_fp64(build(name))
    convert(objective)
    outcome = objective(share_of(random_views(8), rank, world), Progress())
    outcome.loss.backward()
    return outcome.loss.detach(), gradients(objective), dict(objective.named_buffers())


@NAMES
@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_have_the_loss_gradient_and_statistics_of_one(name: str, world: int) -> None:
    whole = in_fp64(build(name))
    loss = whole(random_views(8), Progress()).loss
    loss.backward()
    parts = on_processes(share_of_step, world, name)
    torch.testing.assert_close(torch.stack([part[0] for part in parts]).mean(), loss.detach())
    for key, gradient in gradients(whole).items():
        mean = torch.stack([part[1][key] for part in parts]).mean(0)
        torch.testing.assert_close(mean, gradient, atol=1e-12, rtol=1e-7, msg=lambda m, k=key: f"{k}: {m}")
    for key, buffer in whole.named_buffers():
        for part in parts:
            torch.testing.assert_close(part[2][key], buffer)
