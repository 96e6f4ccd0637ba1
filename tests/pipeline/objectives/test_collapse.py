"""Measures of collapse at their extremes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pipeline.objectives.collapse import energy_gap, spread, usage


def test_spread_is_one_on_the_sphere_and_zero_in_a_point() -> None:
    assert spread(torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))) == pytest.approx(1, abs=0.02)
    assert spread(torch.ones(100, 32)) == pytest.approx(0, abs=1e-6)


def test_the_energy_gap_is_one_for_orthogonal_pairs_and_zero_in_a_point() -> None:
    assert energy_gap(torch.eye(5), 3 * torch.eye(5)) == pytest.approx(1)
    assert energy_gap(torch.ones(5, 3), torch.ones(5, 3)) == pytest.approx(0, abs=1e-6)


def test_usage_is_one_where_every_sample_has_a_prototype_of_its_own_and_least_where_all_share_one() -> None:
    assert usage(torch.eye(6).unsqueeze(0)) == pytest.approx(1)
    assert usage(torch.eye(6)[:3].unsqueeze(0)) == pytest.approx(1)
    assert usage(F.one_hot(torch.zeros(6, dtype=torch.int64), 6).float().unsqueeze(0)) == pytest.approx(1 / 6)
