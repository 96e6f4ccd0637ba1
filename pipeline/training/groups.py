"""Parameter groups: parameters that an optimizer treats alike, told apart by the module that owns each.

groups(objective, lambda member: {"lr": 0.1, "weight_decay": 0.0 if is_offset(member) else 1e-4})
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

_NORMALISATION = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Member(NamedTuple):
    """A parameter that learns."""

    name: str
    """Its path in the whole network, with what wrappers put into it."""
    module: nn.Module
    """The module that owns it."""
    parameter: nn.Parameter


def groups(module: nn.Module, settle: Callable[[Member], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One group for each set of settings that `settle` gives, in order of first appearance.

    Parameters of another device or precision have a group of their own, because fused kernels take one of each.
    """
    found: dict[Hashable, dict[str, Any]] = {}
    for member in members(module):
        settings = settle(member)
        key = (*sorted(settings.items()), member.parameter.dtype, member.parameter.device)
        found.setdefault(key, {"params": [], **settings})["params"].append(member.parameter)
    return list(found.values())


def members(module: nn.Module) -> Iterator[Member]:
    """Every parameter below `module` that learns, once, in the order of `parameters()`."""
    owners = dict(module.named_modules(remove_duplicate=False))
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            yield Member(name, owners[name.rpartition(".")[0]], parameter)


def is_offset(member: Member) -> bool:
    """Whether a parameter is a bias, one of a normalisation, or a vector: what recipes leave without decay."""
    own = member.name.rpartition(".")[2]
    return isinstance(member.module, _NORMALISATION) or own.endswith("bias") or member.parameter.ndim < 2
