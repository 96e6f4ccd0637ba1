"""LARS: SGD whose layer-wise rates leave out biases and normalisation (You et al. 2017, algorithm 1).

The local rate of a parameter is trust * |p| / (|g| + wd * |p| + eps), and 1 where a norm is zero. It differs from LARC
in what is left out, in those zeros (here such a parameter still decays), and in what momentum adds up:

- "gradients", as lightly and timm have it: momentum of local rate * (g + wd * p), multiplied by the rate at each step;
- "updates", as the paper and mmpretrain have it: momentum of rate * local rate * (g + wd * p), so that a step already
  taken keeps the rate it was taken with. The two differ only while the rate changes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def local_rates(sizes: Tensor, slopes: Tensor, *, trust: float, decay: float, eps: float) -> Tensor:
    """Local rates (n) from norms of parameters (n) and of their gradients (n)."""
    rates = trust * sizes / (slopes + decay * sizes + eps)
    return torch.where((sizes > 0) & (slopes > 0), rates, torch.ones_like(rates))
