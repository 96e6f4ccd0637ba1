"""LARC: layer-wise rates for large batches (You et al. 2017, algorithm 1; NVIDIA Apex's LARC, which SEER used).

Each parameter's gradient g is replaced by trust * |p| / (|g| + wd * |p| + eps) * (g + wd * p) before the optimizer
steps without weight decay, so every layer moves by a like share of its size. With `clip` the factor is divided by
the rate and held to at most 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class LARC:
    """What gradients are multiplied by, once their parameters' decay is added."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        trust: float = 1e-3
        """Trust coefficient: how much of its own size a layer may move at a rate of 1."""
        clip: bool = False
        """Whether the adapted rate may not exceed the schedule's."""
        eps: float = 1e-8
        """Added to the denominator."""

        def __post_init__(self) -> None:
            if not self.trust > 0 or not self.eps >= 0:
                raise ValueError("trust must be above 0 and eps at least 0")

        def build(self) -> LARC:
            return LARC(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    def factors(self, sizes: Tensor, slopes: Tensor, *, rate: float, decay: float) -> Tensor:
        """Factors (n) from norms of parameters (n) and of their gradients (n)."""
        factors = self.config.trust * sizes / (slopes + decay * sizes + self.config.eps)
        if self.config.clip:
            factors = (factors / rate).clamp_max(1)
        # Apex leaves a parameter or gradient of norm zero alone: no decay for the one, the plain gradient for the
        # other.
        factors = torch.where(slopes == 0, torch.zeros_like(factors), factors)
        return torch.where((sizes == 0) & (slopes != 0), torch.ones_like(factors), factors)
