"""Measures of collapse against their formulas and their extremes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from pipeline.evaluation.energy import effective_rank, gap


def test_effective_rank_equals_the_formula_of_rankme() -> None:
    features = torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -3, 12)
    values = torch.linalg.svd(features.double()).S.tolist()
    shares = [value / sum(values) + 1e-7 for value in values]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(features) == pytest.approx(expected, rel=1e-4)


def test_effective_rank_counts_equal_directions() -> None:
    assert effective_rank(torch.eye(6)) == pytest.approx(6, rel=1e-3)
    assert effective_rank(torch.ones(30, 8)) == pytest.approx(1, rel=1e-3)
    assert effective_rank(torch.zeros(30, 8)) == pytest.approx(1, rel=1e-3)


def test_the_gap_is_the_difference_of_strangers_and_matches() -> None:
    x = F.normalize(torch.eye(5), dim=1)
    assert gap(lambda a, b: 1 - (a * b).sum(1), x, x) == pytest.approx(1)
    assert gap(lambda a, b: 1 - (a * b).sum(1), x[:1].expand(5, -1), x[:1].expand(5, -1)) == 0
