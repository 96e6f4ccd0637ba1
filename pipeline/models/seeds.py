"""Weights that depend on a seed and on nothing that was drawn before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it torch draws from `seed`; afterwards its generator goes on from where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
