"""Numbers drawn on the device: the hash of data_shards, and the distributions they are said to have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from data_shards import splitmix
from pipeline.objectives import keyed

INDICES = torch.tensor([0, 1, 17, 2**31, 2**40 + 3])


def test_numbers_are_those_of_the_hash_that_draws_crops() -> None:
    for index, drawn in zip(INDICES.tolist(), keyed.uniform(keyed.keys(INDICES, 5, 9), 3, 40), strict=True):
        key = int(splitmix.mix(index, splitmix.key_of(5, 9)))
        expected = splitmix.uniform(43, key)[3:]
        np.testing.assert_allclose(drawn.numpy(), expected, rtol=0, atol=2**-53)
        assert ((drawn > 0) & (drawn < 1)).all()


def test_a_number_depends_on_its_own_key_alone() -> None:
    alone = [keyed.uniform(keyed.keys(INDICES[n : n + 1], 7), 0, 9) for n in range(len(INDICES))]
    assert torch.equal(torch.cat(alone), keyed.uniform(keyed.keys(INDICES, 7), 0, 9))
    assert not torch.equal(torch.cat(alone), keyed.uniform(keyed.keys(INDICES, 8), 0, 9))


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.8, 1.0, 3.0])
def test_beta_has_its_distribution(alpha: float) -> None:
    keys = keyed.keys(torch.arange(20_000), 1)
    drawn = keyed.beta(keys, 4, torch.full((20_000,), alpha))
    assert stats.kstest(drawn.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    shifted = keyed.beta(keys, 5, torch.full((20_000,), alpha + 0.3))
    assert stats.kstest(shifted.numpy(), stats.beta(alpha, alpha).cdf).pvalue < 1e-3, "the test can tell"


def test_beta_is_a_number_for_the_smallest_alpha() -> None:
    drawn = keyed.beta(keyed.keys(torch.arange(1000), 1), 0, torch.full((1000,), 1e-3))
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert (drawn < 0.5).double().mean() == pytest.approx(0.5, abs=0.06)
