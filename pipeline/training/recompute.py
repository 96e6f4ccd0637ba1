"""Trade time for memory: drop what a block computed and compute it again in the backward pass.

The only file that imports fairscale, whose wrapper keeps parameter names and leaves hooks to the caller. Two things
are ours:

- BatchNorm updates its running statistics in the forward pass and not again when recomputed, so they equal those
  without recomputation also where several forward passes (one per resolution) precede one backward pass.
  fairscale's own patch updates them when recomputing, in reversed order; torch's `checkpoint` updates them twice.
- The recomputation runs under the autocast of the forward pass, on any device; fairscale restores CUDA's alone, in
  fp16.

Wrap before `fully_shard` and after BatchNorm is converted. A wrapped block cannot be copied: its forward points at
itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from fairscale.nn.checkpoint import checkpoint_wrapper
from fairscale.nn.checkpoint.checkpoint_activations import is_recomputing
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.models.backbone import Backbone


def recompute(backbone: Backbone, blocks: Iterable[int]) -> None:
    """Recompute the blocks of these numbers, counted from 0 in forward order. Raises ValueError for one it has not."""
    every = backbone.blocks()
    for number in blocks:
        if not 0 <= number < len(every):
            raise ValueError(f"block {number} cannot be recomputed; the backbone has blocks 0 to {len(every) - 1}")
        wrap(every[number])


def wrap(block: nn.Module) -> None:
    """Make a block of one input and one output recompute itself, in place."""
    for layer in block.modules():
        if isinstance(layer, _BatchNorm):
            layer.disable_patch_batchnorm = True  # type: ignore[assignment]
            layer.register_forward_pre_hook(_pause_statistics)
            layer.register_forward_hook(_resume_statistics)

    inner = type(block).forward

    def forward_under(self: nn.Module, x: Tensor, autocast: _Autocast) -> Any:
        with autocast.on():
            return inner(self, x)

    # fairscale calls the forward of the block's class, with the arguments it was given, both times.
    block.__class__ = type(f"Recomputed{type(block).__name__}", (type(block),), {"forward": forward_under})
    checkpoint_wrapper(block)
    checkpointed = block.forward

    def forward(x: Tensor) -> Any:
        autocast = _Autocast.now(x.device.type)
        with torch.autocast(autocast.device, enabled=False):
            return checkpointed(x, autocast)

    block.forward = forward


class _Autocast(NamedTuple):
    """The autocast of a forward pass."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def now(cls, device: str) -> _Autocast:
        return cls(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))

    def on(self) -> torch.autocast:
        return torch.autocast(self.device, self.dtype, self.enabled)


def _pause_statistics(layer: nn.Module, inputs: Any) -> None:
    if is_recomputing():
        layer._tracks = layer.track_running_stats
        layer.track_running_stats = False  # type: ignore[assignment]


def _resume_statistics(layer: nn.Module, inputs: Any, output: Any) -> None:
    if is_recomputing():
        layer.track_running_stats = layer._tracks
