"""What every objective owes, whatever it is: each member of `AnyObjective` goes through all of this.

A new objective needs one entry in `SMALL`: a config that runs in milliseconds.
"""

from __future__ import annotations

import typing
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pipeline.evaluation.energy import gap
from pipeline.models.batchnorm import convert
from pipeline.models.initialise import initialise
from pipeline.objectives import AnyObjective, BarlowTwins, Classification, Objective, Progress, SwAV
from tests.distributed import on_processes
from tests.pipeline.networks import in_fp64, random_views, share_of, small_backbone

SMALL: dict[str, Any] = {
    "swav": SwAV.Config(prototypes=(12, 7), hidden=(16,), dim=8, freeze_prototypes=1, queue=16),
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
def test_a_step_that_nobody_records_has_the_same_loss(name: str) -> None:
    first, second = build(name), build(name)
    expected = first(random_views(8), Progress()).loss
    assert torch.equal(second(random_views(8), Progress(recorded=False)).loss, expected)


@NAMES
def test_a_config_says_what_is_doubtful_at_a_batch_in_whole_sentences(name: str) -> None:
    assert SMALL[name].check(16) == []
    assert all(len(sentence) > 20 and "\n" not in sentence for sentence in SMALL[name].check(8))


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


Step = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]
"""Loss, gradients and buffers."""


def gradients(objective: nn.Module) -> dict[str, Tensor]:
    return {
        key: p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad.clone()
        for key, p in objective.named_parameters()
        if p.grad is not None
    }


def on_meta(name: str) -> Objective:
    """The objective as training builds it: without a number in it."""
    with torch.device("meta"):
        return build(name)


@NAMES
def test_built_on_meta_and_initialised_it_trains_and_any_two_are_alike(name: str) -> None:
    first, second = on_meta(name), on_meta(name)
    for objective in (first, second):
        assert all(tensor.is_meta for tensor in objective.state_dict().values())
        for tensor in objective.to_empty(device="cpu").state_dict().values():
            tensor.fill_(7)  # what memory happens to hold
        initialise(objective, 0)
    other = build(name).state_dict()
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key]), key
        assert tensor.shape == other[key].shape, key
        if key in dict(first.named_buffers()):
            assert torch.equal(tensor, other[key]), key
    losses = []
    optimizer = torch.optim.SGD(first.parameters(), 0.01, momentum=0.9)
    for step in range(8):
        progress = Progress(step=step, steps=8)
        optimizer.zero_grad()
        loss = first(random_views(8), progress).loss
        loss.backward()
        first.adjust_gradients(progress)
        optimizer.step()
        first.finish_step(progress)
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def share_of_step(rank: int, world: int, name: str, sharded: bool = False) -> Step:
    objective = in_fp64(on_meta(name))
    convert(objective)
    if sharded:
        mesh = init_device_mesh("cpu", (world,))
        for unit in (*objective.backbone.blocks(), objective):
            fully_shard(unit, mesh=mesh)
    initialise(objective.to_empty(device="cpu"), 0)
    outcome = objective(share_of(random_views(8), rank, world), Progress())
    outcome.loss.backward()
    return outcome.loss.detach(), gradients(objective), dict(objective.named_buffers())


@NAMES
@pytest.mark.parametrize("sharded", [False, True], ids=["replicas", "shards"])
@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_have_the_loss_gradient_and_statistics_of_one(name: str, world: int, sharded: bool) -> None:
    loss, found, buffers = share_of_step(0, 1, name)
    parts = on_processes(share_of_step, world, name, sharded)
    torch.testing.assert_close(torch.stack([part[0] for part in parts]).mean(), loss)
    for key, gradient in found.items():
        mean = torch.stack([part[1][key] for part in parts]).mean(0)
        torch.testing.assert_close(mean, gradient, atol=1e-12, rtol=1e-7, msg=lambda m, k=key: f"{k}: {m}")
    for key, buffer in buffers.items():
        for part in parts:
            torch.testing.assert_close(part[2][key], buffer)
