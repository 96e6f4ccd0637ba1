"""Measures of collapse at their extremes."""

from __future__ import annotations

import pytest
import torch

from pipeline.objectives.collapse import energy_gap, spread


def test_spread_is_one_on_the_sphere_and_zero_in_a_point() -> None:
    assert spread(torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))) == pytest.approx(1, abs=0.02)
    assert spread(torch.ones(100, 32)) == pytest.approx(0, abs=1e-6)


def test_the_energy_gap_is_one_for_orthogonal_pairs_and_zero_in_a_point() -> None:
    assert energy_gap(torch.eye(5), 3 * torch.eye(5)) == pytest.approx(1)
    assert energy_gap(torch.ones(5, 3), torch.ones(5, 3)) == pytest.approx(0, abs=1e-6)
