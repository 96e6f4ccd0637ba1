"""Sinkhorn-Knopp against the paper in fp64, for any scores at all, and on several processes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.objectives.sinkhorn import harden_, prior, sinkhorn
from tests.distributed import on_processes
from tests.pipeline.objectives.counting import Collectives
from tests.pipeline.objectives.paper import codes_in_logarithms, codes_of, cosines, marginal


@pytest.mark.parametrize(("epsilon", "iterations"), [(0.05, 3), (0.03, 10), (0.5, 1)])
@pytest.mark.parametrize("power_law", [0.0, 0.25, 2.0])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_codes_of_crops_and_sets_equal_the_papers_one_by_one(
    epsilon: float, iterations: int, power_law: float, precision: torch.dtype, tolerance: float
) -> None:
    sets = [cosines(2, 16, prototypes, seed=prototypes).to(precision) for prototypes in (12, 12, 7)]
    for scores, codes in zip(sets, sinkhorn(sets, epsilon, iterations, power_law=power_law), strict=True):
        for crop in range(2):
            expected = codes_of(scores[crop], epsilon, iterations, power_law)
            torch.testing.assert_close(codes[crop].double(), expected, rtol=tolerance, atol=tolerance)


def test_queued_samples_take_part_and_get_no_codes() -> None:
    batch, past = cosines(2, 6, 10).double(), cosines(2, 15, 10, seed=1).double()
    (codes,) = sinkhorn([batch], 0.05, 3, queued=[past.clone()])
    assert codes.shape == batch.shape
    for crop in range(2):
        whole = codes_of(torch.cat([past[crop], batch[crop]]), 0.05, 3)
        torch.testing.assert_close(codes[crop], whole[-6:])
    assert (codes - sinkhorn([batch], 0.05, 3)[0]).abs().max() > 0.01


@pytest.mark.parametrize(("scale", "epsilon"), [(1, 0.05), (1, 0.003), (30, 0.03), (1000, 0.05)])
def test_codes_are_right_for_any_range_of_scores(scale: float, epsilon: float) -> None:
    scores = cosines(1, 24, 10) * scale
    (codes,) = sinkhorn([scores], epsilon, 3)
    torch.testing.assert_close(codes.sum(-1), torch.ones(1, 24))
    if scale / epsilon < 80:
        # Beyond this the first sums over a prototype underflow in fp32, and codes are finite but not the limit's.
        torch.testing.assert_close(codes[0].double(), codes_in_logarithms(scores[0], epsilon, 3), rtol=1e-4, atol=1e-6)


@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 9), st.integers(2, 40)),
    st.floats(-4, 4),
    st.floats(-1e4, 1e4),
    st.sampled_from(["spread", "equal", "repeated", "one far off", "ties"]),
    st.sampled_from([1e-3, 0.03, 0.05, 1.0]),
    st.integers(1, 12),
    st.floats(0, 12),
    st.booleans(),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_codes_are_shares_that_sum_to_one_whatever_the_scores(
    seed: int,
    shape: tuple[int, int],
    magnitude: float,
    shift: float,
    kind: str,
    epsilon: float,
    iterations: int,
    power_law: float,
    with_queue: bool,
) -> None:
    scores = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed)) * 10**magnitude + shift
    if kind == "equal":
        scores = torch.full_like(scores, shift)
    elif kind == "repeated":
        scores = scores[:, :1].expand_as(scores)
    elif kind == "one far off":
        scores[:, 0] -= 1e4
    elif kind == "ties":
        scores = scores.sign()
    queued = [scores.flip(-1)] if with_queue else []
    (codes,) = sinkhorn([scores], epsilon, iterations, queued=queued, power_law=power_law)
    assert codes.isfinite().all()
    assert (codes >= 0).all()
    torch.testing.assert_close(codes.sum(-1), torch.ones(2, shape[0]), rtol=0, atol=1e-4)


def test_samples_that_look_alike_get_the_prior_as_their_code() -> None:
    alike = cosines(1, 1, 10).expand(1, 30, 10)
    torch.testing.assert_close(sinkhorn([alike], 0.05, 3)[0], torch.full((1, 30, 10), 0.1))
    (codes,) = sinkhorn([alike], 0.05, 3, power_law=0.5)
    torch.testing.assert_close(codes, marginal(10, 0.5).float().expand(1, 30, 10))


@pytest.mark.parametrize("power_law", [0.0, 0.25, 1.0])
def test_many_iterations_use_prototypes_as_the_prior_says_and_crops_do_not_mix(power_law: float) -> None:
    scores = cosines(2, 40, 10)
    (codes,) = sinkhorn([scores], 0.05, 300, power_law=power_law)
    torch.testing.assert_close(codes.sum(1), 40 * marginal(10, power_law).float().expand(2, 10), rtol=1e-3, atol=1e-3)
    alone = [sinkhorn([crop.unsqueeze(0)], 0.05, 300, power_law=power_law)[0][0] for crop in scores]
    torch.testing.assert_close(codes, torch.stack(alone))


def test_a_prior_sums_to_one_and_leaves_no_prototype_without_a_share() -> None:
    torch.testing.assert_close(prior(3000, 0.25, torch.empty(0)).double(), marginal(3000, 0.25), rtol=1e-5, atol=0)
    assert prior(16000, 20.0, torch.empty(0)).min() > 0


def test_a_hard_code_is_all_on_the_prototype_that_had_most() -> None:
    codes = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert torch.equal(harden_(codes.clone()), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    ties = harden_(torch.full((1, 4), 0.25))
    assert sorted(ties[0].tolist()) == [0, 0, 0, 1]


def test_autocast_leaves_codes_in_fp32() -> None:
    scores = cosines(2, 16, 12)
    with torch.autocast("cpu", torch.bfloat16):
        (codes,) = sinkhorn([scores], 0.05, 3)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes[0].double(), codes_of(scores[0], 0.05, 3), rtol=1e-5, atol=1e-6)


def test_the_scores_of_the_batch_are_left_as_they_were() -> None:
    scores = cosines(2, 16, 12)
    before = scores.clone()
    sinkhorn([scores], 0.05, 3, queued=[scores.clone()])
    assert torch.equal(scores, before)


def share_of_codes(rank: int, world: int, sets: list[Tensor], cuts: list[int]) -> list[Tensor]:
    mine = [scores[:, cuts[rank] : cuts[rank + 1]] for scores in sets]
    return sinkhorn(mine, 0.05, 3, queued=[scores * 0.7 for scores in mine], power_law=0.25)


@pytest.mark.parametrize("cuts", [[0, 12, 24], [0, 5, 24], [0, 6, 12, 18, 24]], ids=["two", "unequal", "four"])
def test_codes_of_several_processes_are_those_of_one_over_the_global_batch(cuts: list[int]) -> None:
    sets = [cosines(2, 24, 10), cosines(2, 24, 7)]
    parts = on_processes(share_of_codes, len(cuts) - 1, sets, cuts)
    for number, expected in enumerate(share_of_codes(0, 1, sets, [0, 24])):
        torch.testing.assert_close(torch.cat([part[number] for part in parts], dim=1), expected)


def collectives(rank: int, world: int, sets: list[Tensor], iterations: int) -> list[str]:
    with Collectives() as counted:
        sinkhorn(sets, 0.05, iterations, queued=[scores.clone() for scores in sets])
    return counted.names


@pytest.mark.parametrize("iterations", [1, 3, 10])
def test_an_iteration_is_one_collective_for_all_crops_and_sets_and_one_more_finds_the_maximum(iterations: int) -> None:
    sets = [cosines(2, 4, prototypes) for prototypes in (12, 12, 7)]
    assert on_processes(collectives, 2, sets, iterations) == [["allreduce_"] * (iterations + 1)] * 2
