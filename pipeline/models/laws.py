"""Laws of initialisation: what a parameter is drawn from, row by row.

A module whose parameters start otherwise than torch's own constructors leave them says so in a method:

    def laws(self) -> dict[str, Law]:
        return {"weight": normal(0.01), "bias": constant(0.0)}

Names are relative to the module and may reach below it; of two statements about a parameter the outer one counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Law: TypeAlias = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float32]]
"""Draws rows of a parameter: (source of random numbers, shape (rows, ...)) -> that many numbers.

A row may depend on nothing but what is drawn for it.
"""


@runtime_checkable
class States(Protocol):
    """A module that states its laws."""

    def laws(self) -> dict[str, Law]: ...


def normal(std: float) -> Law:
    """Normal, with mean 0."""

    def draw(source: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        drawn = source.standard_normal(shape, dtype=np.float32)
        drawn *= std
        return drawn

    return draw


def uniform(bound: float) -> Law:
    """Uniform from -bound to bound."""

    def draw(source: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        drawn = source.random(shape, dtype=np.float32)
        drawn *= 2 * bound
        drawn -= bound
        return drawn

    return draw


def constant(value: float) -> Law:
    """The same number everywhere."""

    def draw(source: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.full(shape, value, dtype=np.float32)

    return draw


def unit_rows(source: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Directions: rows (rows, dim) of length one, each direction equally likely."""
    rows = source.standard_normal(shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def laws_of(module: nn.Module) -> dict[str, Law]:
    """The laws of a module's own parameters: what it states, or what torch's constructor does.

    Raises NotImplementedError for a module with parameters whose law nobody has stated.
    """
    if isinstance(module, States):
        return module.laws()
    own = [name for name, _ in module.named_parameters(recurse=False)]
    if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
        # torch: Kaiming's uniform law with a = sqrt(5), which is 1 / sqrt(fan in) for weight and bias alike.
        return dict.fromkeys(own, uniform(1 / math.sqrt(module.weight.shape[1:].numel())))
    if isinstance(module, (_BatchNorm, nn.LayerNorm, nn.GroupNorm)):
        return {name: constant(1.0 if name == "weight" else 0.0) for name in own}
    return {}
