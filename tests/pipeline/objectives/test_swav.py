"""SwAV whole: each option against a transcription of the paper in fp64, its own properties, and several processes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pipeline.models.batchnorm import convert
from pipeline.objectives import Progress, SwAV
from pipeline.views.views import Views
from tests.distributed import on_processes
from tests.pipeline.networks import in_fp64, random_views, share_of, small_backbone
from tests.pipeline.objectives.counting import Collectives
from tests.pipeline.objectives.paper import Paper

STEPS, BATCH = 5, 8
WHOLE = {"prototypes": (12, 12, 7), "queue": 2 * BATCH, "queue_start": 1.0, "hard_codes": 1, "power_law": 0.25}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ten iterations, a low epsilon": {"sinkhorn_iterations": 10, "epsilon": 0.03},
    "one crop assigned": {"assigned": 1},
    "three sets": {"prototypes": (12, 12, 7)},
    "hard codes": {"hard_codes": 2},
    "power law": {"power_law": 0.25},
    "queue": {"queue": 2 * BATCH},
    "queue, later": {"queue": 2 * BATCH, "queue_start": 1.5},
    "all": WHOLE,
}


def small_swav(**changes: object) -> SwAV:
    torch.manual_seed(0)
    settings = {"prototypes": 30, "hidden": (16,), "dim": 8, "freeze_prototypes": 2, **changes}
    return SwAV.Config(**settings).build(small_backbone())  # type: ignore[arg-type]


def at(step: int, recorded: bool = True) -> Progress:
    """Two epochs of two and a half steps."""
    return Progress(step=step, steps=STEPS, epoch=step / 2.5, samples=step * BATCH, recorded=recorded)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {
        key: p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad.clone()
        for key, p in module.named_parameters()
        if p.grad is not None
    }


@pytest.mark.parametrize("option", OPTIONS)
def test_loss_and_gradient_of_every_step_equal_the_transcription_of_the_paper(option: str) -> None:
    changes = OPTIONS[option]
    objective = in_fp64(small_swav(**changes))
    config = objective.config
    paper = Paper(
        config.epsilon,
        config.sinkhorn_iterations,
        config.temperature,
        config.assigned,
        config.power_law,
        config.hard_codes,
        config.queue // BATCH,
        config.queue_start,
    )
    optimizer = torch.optim.SGD(objective.parameters(), 0.5, momentum=0.9)
    for step in range(STEPS):
        views = random_views(BATCH, seed=step)
        embeddings = objective.project(torch.cat(objective.embed(views))).view(-1, BATCH, config.dim)
        expected = paper.loss(embeddings, objective.prototypes.weight.split(config.sets), step, at(step).epoch)
        optimizer.zero_grad()
        expected.backward()
        theirs = gradients(objective)
        optimizer.zero_grad()
        loss = objective(views, at(step)).loss
        loss.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        for key, gradient in gradients(objective).items():
            torch.testing.assert_close(gradient, theirs[key], rtol=1e-9, atol=1e-13, msg=lambda m, k=key: f"{k}: {m}")
        objective.adjust_gradients(at(step))
        optimizer.step()
        objective.finish_step(at(step))


def steps(rank: int, world: int, sharded: bool) -> tuple[list[Tensor], list[dict[str, Tensor]], Tensor]:
    """Losses and gradients of every step with every option, and the queue they leave, its slots sorted."""
    objective = in_fp64(small_swav(**WHOLE))
    convert(objective)
    if sharded:
        mesh = init_device_mesh("cpu", (world,))
        for unit in (*objective.backbone.blocks(), objective.prototypes, objective):
            fully_shard(unit, mesh=mesh)
    optimizer = torch.optim.SGD(objective.parameters(), 0.5, momentum=0.9)
    losses, found = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = objective(share_of(random_views(BATCH, seed=step), rank, world), at(step)).loss
        loss.backward()
        if world > 1 and not sharded:
            for parameter in objective.parameters():
                assert parameter.grad is not None
                dist.all_reduce(parameter.grad)
                parameter.grad /= world
        losses.append(loss.detach())
        found.append(gradients(objective))
        objective.adjust_gradients(at(step))
        optimizer.step()
        objective.finish_step(at(step))
    assert objective.queue is not None
    return losses, found, objective.queue.embeddings


@pytest.mark.parametrize("sharded", [False, True], ids=["replicas", "shards"])
@pytest.mark.parametrize("world", [2, 4])
def test_steps_with_every_option_are_on_several_processes_those_of_one(world: int, sharded: bool) -> None:
    losses, found, queue = steps(0, 1, False)
    parts = on_processes(steps, world, sharded)
    for step in range(STEPS):
        mean = torch.stack([part[0][step] for part in parts]).mean()
        torch.testing.assert_close(mean, losses[step], rtol=1e-10, atol=0)
        for key, gradient in found[step].items():
            for part in parts:
                there = part[1][step][key]
                torch.testing.assert_close(there, gradient, rtol=1e-7, atol=1e-12, msg=lambda m, k=key: f"{k}: {m}")
    for part in parts:
        torch.testing.assert_close(part[2], queue, rtol=1e-9, atol=1e-12)


def collectives(rank: int, world: int, changes: dict[str, Any]) -> list[str]:
    objective = small_swav(batch_norm=False, **changes)
    counted = Collectives()
    for step in range(3):
        counted.names.clear()
        with counted:
            objective(share_of(random_views(BATCH), rank, world), at(step)).loss.backward()
            objective.finish_step(at(step))
    return counted.names


@pytest.mark.parametrize(
    ("changes", "sums"), [({}, 3), ({"prototypes": (9, 5)}, 3), ({"queue": BATCH}, 3), ({"sinkhorn_iterations": 9}, 9)]
)
def test_a_step_has_a_collective_for_each_iteration_one_for_the_maximum_and_one_for_the_queue(
    changes: dict[str, Any], sums: int
) -> None:
    expected = ["allreduce_"] * (1 + sums) + ["allgather_"] * ("queue" in changes)
    assert on_processes(collectives, 2, changes) == [expected] * 2


def test_an_untrained_network_starts_near_ln_k() -> None:
    objective = small_swav(prototypes=300, dim=128)
    outcome = objective(random_views(32), Progress())
    assert abs(outcome.loss.item() - math.log(300)) < 0.5
    assert outcome.metrics["ln_k"].item() == pytest.approx(math.log(300))
    several = small_swav(prototypes=(10, 1000))(random_views(32), Progress())
    assert several.metrics["ln_k"].item() == pytest.approx(math.log(100))


def test_prototypes_are_held_to_the_bit_for_the_first_steps_and_have_unit_length_afterwards() -> None:
    objective = small_swav()
    optimizer = torch.optim.SGD(objective.parameters(), 1.0, momentum=0.9, weight_decay=0.1)
    start = objective.prototypes.weight.detach().clone()
    for step in range(4):
        optimizer.zero_grad()
        objective(random_views(8, seed=step), at(step)).loss.backward()
        objective.adjust_gradients(at(step))
        optimizer.step()
        objective.finish_step(at(step))
        assert torch.equal(objective.prototypes.weight, start) == (step < 2)
        torch.testing.assert_close(objective.prototypes.weight.norm(dim=1), torch.ones(30))


@pytest.mark.parametrize("option", OPTIONS)
def test_a_step_reads_nothing_back_from_the_device(option: str) -> None:
    """Fake tensors have no values, so whatever would wait for the device to give one raises here."""
    with FakeTensorMode():
        objective = small_swav(**OPTIONS[option])
        objective.backbone.prepare = lambda crops: crops.flatten(0, 1).float()  # type: ignore[method-assign]
        for step in (0, 10**6):
            progress = Progress(step=step, epoch=step)
            outcome = objective(random_views(BATCH), progress)
            outcome.loss.backward()
            objective.adjust_gradients(progress)
            objective.finish_step(progress)
    assert outcome.loss.shape == ()


def test_each_resolution_goes_through_the_backbone_once() -> None:
    objective, shapes = small_swav(), []
    objective.backbone.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(inputs[0].shape)))
    objective(random_views(4, ((2, 16), (3, 8))), Progress())
    assert shapes == [(8, 3, 16, 16), (12, 3, 8, 8)]


def test_metrics_tell_a_collapse_from_health() -> None:
    objective = small_swav()
    healthy = objective(random_views(16), Progress()).metrics
    alike = tuple(crops[:1].expand(len(crops), 16, *crops.shape[2:]) for crops in random_views(1).crops)
    same = Views(alike, torch.arange(16), torch.zeros(16))
    collapsed = objective.eval()(same, Progress()).metrics
    assert collapsed["feature_std"] < 1e-3 < healthy["feature_std"]
    assert collapsed["prototype_usage"] == pytest.approx(1 / 30, rel=1e-4)
    assert healthy["prototype_usage"] > 5 / 30
    assert collapsed["code_entropy"] == pytest.approx(math.log(30), rel=1e-3)
    assert healthy["code_entropy"] < collapsed["code_entropy"]
    assert abs(collapsed["energy_gap"]) < 1e-5
    assert all(value.shape == () and not value.requires_grad for value in healthy.values())


def test_prototype_scores_are_cosines_with_the_first_set() -> None:
    objective = small_swav(prototypes=(12, 7)).eval()
    features = torch.randn(5, objective.backbone.width)
    scores = objective.prototype_scores(features)
    assert scores.shape == (5, 12)
    torch.testing.assert_close(scores, objective.project(features) @ objective.prototypes.weight[:12].T)


def test_more_crops_to_assign_than_the_first_group_has_are_refused_with_what_to_change() -> None:
    with pytest.raises(
        ValueError, match=r"codes for 2 crops of the first group, which has 1; set objective.assigned=1"
    ):
        small_swav()(random_views(4, ((1, 16), (3, 8))), Progress())


@pytest.mark.parametrize(
    "change",
    [
        {"prototypes": 1},
        {"prototypes": ()},
        {"prototypes": (30, 1)},
        {"epsilon": 0.0},
        {"temperature": -1.0},
        {"sinkhorn_iterations": 0},
        {"assigned": 0},
        {"hard_codes": -1},
        {"power_law": -0.5},
        {"queue": -8},
        {"queue_start": -1.0},
    ],
)
def test_a_config_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        SwAV.Config(**change)  # type: ignore[arg-type]


def test_a_queue_of_no_whole_batches_is_refused_with_lengths_that_fit() -> None:
    with pytest.raises(
        ValueError, match="queue: 1000 samples are no whole number of batches of 256; make it 768 or 1024"
    ):
        SwAV.Config(queue=1000).check(256)
    with pytest.raises(ValueError, match=r"make it 256$"):
        SwAV.Config(queue=100).check(256)
    objective = small_swav(queue=12)
    with pytest.raises(ValueError, match="queue: 12 samples are no whole number of batches of 8"):
        objective(random_views(8), at(0))


@pytest.mark.parametrize(
    ("changes", "batch", "advice"),
    [
        ({"prototypes": 3000}, 4096, None),
        ({"prototypes": 3000}, 256, "objective.queue=2816"),
        ({"prototypes": 3000, "queue": 2816}, 256, None),
        ({"prototypes": 3000, "queue": 2560}, 256, "objective.queue=2816"),
        ({"prototypes": (100, 300)}, 256, "objective.queue=256"),
        ({"prototypes": (100, 200, 300)}, 300, None),
    ],
)
def test_prototypes_that_the_samples_cannot_fill_are_named_with_what_would_do(
    changes: dict[str, Any], batch: int, advice: str | None
) -> None:
    found = SwAV.Config(**changes).check(batch)
    assert len(found) == (advice is not None)
    if advice:
        assert f"are more than the {batch + changes.get('queue', 0)} samples" in found[0]
        assert found[0].endswith(advice)
        longer = {**changes, "queue": int(advice.split("=")[1])}
        assert not SwAV.Config(**longer).check(batch)
