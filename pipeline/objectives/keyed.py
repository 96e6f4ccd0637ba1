"""Random numbers of samples, drawn where the samples are: pure functions of a key, without a state and without a wait.

A generator's numbers depend on who else draws from it. Here each sample has its own, by the hash that all of the
pipeline's draws are made with (`data_shards.splitmix`); it is computed in signed 64-bit integers, which wrap around.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from data_shards.splitmix import FIRST, GAMMA, SECOND, key_of

_ATTEMPTS = 8
"""At a gamma variate: each is good with a chance above 0.95, so that all fail once in 10^10 draws."""


def keys(indices: Tensor, *parts: int) -> Tensor:
    """A key (N) for each of `indices` (N, int64) and what else tells its draw from others."""
    return _mix(indices, key_of(*parts))


def uniform(keys: Tensor, first: int, count: int) -> Tensor:
    """Numbers `first` to `first + count` of each key, above 0 and below 1: (N, count), fp64."""
    slots = torch.arange(first, first + count, device=keys.device)
    bits = _shifted(_mix(slots, keys.unsqueeze(-1)), 11)
    return (bits.double() + 0.5) * 2.0**-53


def beta(keys: Tensor, first: int, alpha: Tensor) -> Tensor:
    """A number (N) from Beta(alpha, alpha) for each key, by numbers `first` to `first + BETA` of it; fp64.

    x / (x + y) for x and y from Gamma(alpha); by logarithms, as for a small alpha both are too small to be held.
    """
    x, y = (_log_gamma(uniform(keys, first + n * BETA // 2, BETA // 2), alpha) for n in (0, 1))
    return torch.sigmoid(x - y)


BETA = 2 * (3 * _ATTEMPTS + 1)
"""Uniform numbers that a draw from Beta takes."""


def _log_gamma(drawn: Tensor, alpha: Tensor) -> Tensor:
    """The logarithm of a number from Gamma(alpha), given uniform ones (N, 25) (Marsaglia and Tsang 2000).

    Theirs is one with alpha + 1, times the (1 / alpha)-th power of a uniform number (section 6); all attempts are made
    at once, and the first good one counts.
    """
    radius, angle, chance = drawn[:, :-1].chunk(3, 1)
    normal = (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()
    d = alpha.double().unsqueeze(1) + 2 / 3
    v = (1 + normal / (9 * d).sqrt()) ** 3
    log_v = v.clamp_min(torch.finfo(v.dtype).tiny).log()
    good = (v > 0) & (chance.log() < 0.5 * normal**2 + d * (1 - v + log_v))
    log_v = log_v.gather(1, good.int().argmax(1, keepdim=True))
    return (d.log() + log_v).squeeze(1) + drawn[:, -1].log() / alpha


def _mix(value: Tensor, key: Tensor | int) -> Tensor:
    """`data_shards.splitmix.mix`, the bits of its result as signed integers."""
    gamma = _signed(GAMMA)
    x = value + (_signed(key * GAMMA + GAMMA) if isinstance(key, int) else key * gamma + gamma)
    x = (x ^ _shifted(x, 30)) * _signed(FIRST)
    x = (x ^ _shifted(x, 27)) * _signed(SECOND)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """The bits `by` places to the right, with zeros before them; `>>` would fill in the sign."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
