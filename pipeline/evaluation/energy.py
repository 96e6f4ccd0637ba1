"""Measures that tell a collapse without labels.

An objective is an energy that must be low for matching views; the trivial way is to make it low everywhere. These say
whether that happened: features in one point (`spread` near 0), in few directions (`effective_rank` near 1), or an
energy that does not tell a match from a stranger (`gap` near 0).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.objectives.collapse import spread

__all__ = ["effective_rank", "gap", "spread"]


@torch.no_grad()
def effective_rank(features: Tensor) -> float:
    """RankMe (Garrido et al. 2023, eq. 3): exp of the entropy of the singular values' shares; 1 to min(N, D)."""
    values = torch.linalg.svdvals(features.float())
    shares = values / values.sum().clamp_min(torch.finfo(torch.float32).tiny) + 1e-7
    return float(torch.special.entr(shares).sum().exp())


@torch.no_grad()
def gap(energy: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Mean energy of strangers minus that of matching rows, for features (N, width) of two views of N samples."""
    return float((energy(x, y.roll(1, 0)) - energy(x, y)).mean())
