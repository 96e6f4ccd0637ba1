"""What a collapse looks like, without labels and without waiting for the device.

The trivial way to a low energy of matching views is features that are all alike. These are cheap enough for every step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def spread(features: Tensor) -> Tensor:
    """Standard deviation of unit-length features (N, D) over the batch, times sqrt(D).

    Near 1 where features fill the sphere and 0 where they have collapsed to a point.
    """
    unit = F.normalize(features.float(), dim=1)
    return unit.std(0).mean().mul(features.shape[1] ** 0.5)


@torch.no_grad()
def energy_gap(x: Tensor, y: Tensor) -> Tensor:
    """How much lower the energy 1 - cosine of matching rows (N, D) is than that of strangers; 0 after a collapse."""
    x, y = F.normalize(x.float(), dim=1), F.normalize(y.float(), dim=1)
    return (x * y).sum(1).mean() - (x * y.roll(1, 0)).sum(1).mean()


def usage(codes: Tensor) -> Tensor:
    """How evenly samples fall on prototypes: perplexity of the codes' peaks over the most it can be, 0 to 1."""
    samples, prototypes = codes.flatten(0, -2).shape
    nearest = codes.flatten(0, -2).argmax(-1)
    counts = torch.zeros(prototypes, device=codes.device).scatter_add_(0, nearest, torch.ones_like(nearest).float())
    perplexity: Tensor = torch.special.entr(counts / samples).sum().exp()
    return perplexity / min(samples, prototypes)
