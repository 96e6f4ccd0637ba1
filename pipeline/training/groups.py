"""Parameter groups: parameters that an optimizer treats alike, told apart by the module that owns each.

groups(objective, lambda member: {"lr": 0.1, "weight_decay": 0.0 if is_offset(member) else 1e-4})
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from pipeline.models.backbone import Backbone

_NORMALISATION = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Height(NamedTuple):
    """How far below the heads a parameter lies: 0 for those of a head, 1 for those of the last block."""

    blocks: int = 0
    """Counted in residual blocks; the stem is one below the first."""
    stages: int = 0
    """Counted in stages."""


class Member(NamedTuple):
    """A parameter that learns."""

    name: str
    """Its path in the whole network, with what wrappers put into it."""
    module: nn.Module
    """The module that owns it."""
    parameter: nn.Parameter
    height: Height = Height()
    """Where it lies in the backbone of an objective; parameters of any other module are all at the top."""


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
    heights = _heights(module)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            owner = owners[name.rpartition(".")[0]]
            yield Member(name, owner, parameter, heights.get(owner, Height()))


def _heights(module: nn.Module) -> dict[nn.Module, Height]:
    """Where every module of an objective's backbone lies, whatever wraps it."""
    backbone = getattr(module, "backbone", None)
    if not isinstance(backbone, Backbone):
        return {}
    stages, left = backbone.stages(), len(backbone.blocks())
    found = dict.fromkeys(backbone.modules(), Height(left + 1, len(stages) + 1))
    for above, stage in zip(range(len(stages), 0, -1), stages, strict=True):
        for block in stage.children():
            found |= dict.fromkeys(block.modules(), Height(left, above))
            left -= 1
    return found


def is_offset(member: Member) -> bool:
    """Whether a parameter is a bias, one of a normalisation, or a vector: what recipes leave without decay."""
    own = member.name.rpartition(".")[2]
    return isinstance(member.module, _NORMALISATION) or own.endswith("bias") or member.parameter.ndim < 2
