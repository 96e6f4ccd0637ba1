"""SwAV against a transcription of the paper in fp64, its own properties, and several processes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from pipeline.objectives import Progress, SwAV
from pipeline.objectives.swav import sinkhorn, swapped_prediction, usage
from pipeline.views.views import Views
from tests.distributed import on_processes
from tests.pipeline.networks import random_views, small_backbone


def reference_codes(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Algorithm 1 of Caron et al. 2020 as written there, fp64: scores (batch, K) -> codes (batch, K)."""
    q = torch.exp((scores.double() - scores.max().double()) / epsilon).T
    q /= q.sum()
    prototypes, batch = q.shape
    for _ in range(iterations):
        q /= q.sum(1, keepdim=True)
        q /= prototypes
        q /= q.sum(0, keepdim=True)
        q /= batch
    return (q * batch).T


def codes_in_logarithms(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """The same, never leaving logarithms: for score ranges that no exp survives."""
    log_q = scores.double() / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(0, keepdim=True)
        log_q = log_q - log_q.logsumexp(1, keepdim=True)
    return log_q.exp()


def reference_loss(scores: Tensor, assigned: int, temperature: float, epsilon: float, iterations: int) -> Tensor:
    """Equation 2 with multi-crop, one pair of views at a time."""
    pairs = []
    for a in range(assigned):
        codes = reference_codes(scores[a].detach(), epsilon, iterations)
        for v in range(len(scores)):
            if v != a:
                pairs.append(-(codes * F.log_softmax(scores[v] / temperature, dim=1)).sum(1).mean())
    return torch.stack(pairs).mean()


def cosines(*shape: int, seed: int = 0) -> Tensor:
    """Scores of random unit vectors against random unit prototypes."""
    draw = torch.Generator().manual_seed(seed)
    *lead, prototypes = shape
    embeddings = F.normalize(torch.randn(*lead, 8, generator=draw), dim=-1)
    return embeddings @ F.normalize(torch.randn(prototypes, 8, generator=draw), dim=-1).T


@pytest.mark.parametrize(("epsilon", "iterations"), [(0.05, 3), (0.03, 10), (0.5, 1)])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_loss_and_gradient_equal_the_transcription_of_the_paper(
    epsilon: float, iterations: int, precision: torch.dtype, tolerance: float
) -> None:
    ours = cosines(5, 16, 12).to(precision).requires_grad_()
    theirs = ours.detach().double().requires_grad_()
    loss = swapped_prediction(ours, sinkhorn(ours[:2].detach(), epsilon, iterations), 0.1)
    expected = reference_loss(theirs, 2, 0.1, epsilon, iterations)
    loss.backward()
    expected.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(loss.double(), expected, rtol=tolerance, atol=0)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=tolerance, atol=tolerance * 1e-2)


@pytest.mark.parametrize(("scale", "epsilon"), [(1, 0.05), (1, 0.003), (30, 0.03), (1000, 0.05)])
def test_codes_are_right_for_any_range_of_scores(scale: float, epsilon: float) -> None:
    scores = cosines(1, 24, 10) * scale
    codes = sinkhorn(scores, epsilon, 3)
    torch.testing.assert_close(codes.sum(-1), torch.ones(1, 24))
    if scale / epsilon < 80:
        # Beyond this the first sums over a prototype underflow in fp32, and codes are finite but not the limit's.
        torch.testing.assert_close(codes[0].double(), codes_in_logarithms(scores[0], epsilon, 3), rtol=1e-4, atol=1e-6)


def test_the_loss_and_its_gradient_are_finite_for_scores_that_break_fp16() -> None:
    scores = (cosines(4, 16, 12) * 100).requires_grad_()
    assert (scores.detach().half() / 0.03).exp().isinf().any()
    loss = swapped_prediction(scores, sinkhorn(scores[:2].detach(), 0.03, 3), 0.1)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_many_iterations_use_every_prototype_equally_and_crops_do_not_mix() -> None:
    scores = cosines(2, 40, 10)
    codes = sinkhorn(scores, 0.05, 200)
    torch.testing.assert_close(codes.sum(1), torch.full((2, 10), 4.0), rtol=1e-3, atol=1e-3)
    alone = [sinkhorn(crop.unsqueeze(0), 0.05, 200)[0] for crop in scores]
    torch.testing.assert_close(codes, torch.stack(alone))


def test_autocast_leaves_codes_in_fp32() -> None:
    scores = cosines(2, 16, 12)
    with torch.autocast("cpu", torch.bfloat16):
        codes = sinkhorn(scores, 0.05, 3)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes[0].double(), reference_codes(scores[0], 0.05, 3), rtol=1e-5, atol=1e-6)


def test_the_loss_is_at_least_the_entropy_of_the_codes_and_the_order_of_prototypes_does_not_matter() -> None:
    scores = cosines(4, 16, 12)
    codes = sinkhorn(scores[:2], 0.05, 3)
    loss = swapped_prediction(scores, codes, 0.1)
    assert loss >= torch.special.entr(codes).sum(-1).mean()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    permuted = swapped_prediction(scores[..., order], sinkhorn(scores[:2, :, order], 0.05, 3), 0.1)
    torch.testing.assert_close(loss, permuted)


def share_of_codes(rank: int, world: int, scores: Tensor, cuts: list[int]) -> Tensor:
    return sinkhorn(scores[:, cuts[rank] : cuts[rank + 1]], 0.05, 3)


@pytest.mark.parametrize("cuts", [[0, 12, 24], [0, 5, 24], [0, 6, 12, 18, 24]], ids=["two", "unequal", "four"])
def test_codes_of_several_processes_are_those_of_one_over_the_global_batch(cuts: list[int]) -> None:
    scores = cosines(2, 24, 10)
    parts = on_processes(share_of_codes, len(cuts) - 1, scores, cuts)
    torch.testing.assert_close(torch.cat(parts, dim=1), sinkhorn(scores, 0.05, 3))


def small_swav(**changes: object) -> SwAV:
    torch.manual_seed(0)
    settings = {"prototypes": 30, "hidden": (16,), "dim": 8, "freeze_prototypes": 2, **changes}
    return SwAV.Config(**settings).build(small_backbone())  # type: ignore[arg-type]


def test_an_untrained_network_starts_near_ln_k() -> None:
    objective = small_swav(prototypes=300, dim=128)
    outcome = objective(random_views(32), Progress())
    assert abs(outcome.loss.item() - math.log(300)) < 0.5
    assert outcome.metrics["ln_k"].item() == pytest.approx(math.log(300))


def test_prototypes_are_held_to_the_bit_for_the_first_steps_and_have_unit_length_afterwards() -> None:
    objective = small_swav()
    optimizer = torch.optim.SGD(objective.parameters(), 1.0, momentum=0.9, weight_decay=0.1)
    start = objective.prototypes.weight.detach().clone()
    for step in range(4):
        progress = Progress(step=step, steps=4)
        optimizer.zero_grad()
        objective(random_views(8, seed=step), progress).loss.backward()
        objective.adjust_gradients(progress)
        optimizer.step()
        objective.finish_step(progress)
        assert torch.equal(objective.prototypes.weight, start) == (step < 2)
        torch.testing.assert_close(objective.prototypes.weight.norm(dim=1), torch.ones(30))


def test_a_step_reads_nothing_back_from_the_device() -> None:
    """Fake tensors have no values, so whatever would wait for the device to give one raises here."""
    with FakeTensorMode():
        objective = SwAV.Config(prototypes=30, hidden=(16,), dim=8).build(small_backbone())
        objective.backbone.prepare = lambda crops: crops.flatten(0, 1).float()  # type: ignore[method-assign]
        views = random_views(4)
        outcome = objective(views, Progress())
        outcome.loss.backward()
        objective.adjust_gradients(Progress(step=0))
        objective.finish_step(Progress(step=10**6))
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


def test_usage_is_one_where_every_sample_has_a_prototype_of_its_own_and_least_where_all_share_one() -> None:
    assert usage(torch.eye(6).unsqueeze(0)) == pytest.approx(1)
    assert usage(torch.eye(6)[:3].unsqueeze(0)) == pytest.approx(1)
    assert usage(F.one_hot(torch.zeros(6, dtype=torch.int64), 6).float().unsqueeze(0)) == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    "change", [{"prototypes": 1}, {"epsilon": 0.0}, {"temperature": -1.0}, {"sinkhorn_iterations": 0}]
)
def test_a_config_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        SwAV.Config(**change)  # type: ignore[arg-type]
