"""Precision of what must not be rounded: statistics, scores, losses."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """In fp32, or as it is in fp64 (which tests use): never in the half precision that autocast chooses."""
    return x if x.dtype == torch.float64 else x.float()
