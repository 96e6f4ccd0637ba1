"""Trade time for memory: drop what blocks computed and compute it again in the backward pass.

The only file that imports fairscale. A group of consecutive blocks is recomputed as one: kept are the groups' inputs,
and in the backward pass the activations of one group at a time. `pieces` does the same for the whole backbone on parts
of its input (the idea of GradCache, Gao et al. 2021): head and loss see all of them, so a loss that depends on the
whole batch, such as SwAV's, is what it was. Three things are ours:

- BatchNorm updates its running statistics in the forward pass and not again when recomputed, so they equal those
  without recomputation also where several forward passes (one per resolution) precede one backward pass.
  fairscale's own patch updates them when recomputing, in reversed order; torch's `checkpoint` updates them twice.
- The recomputation runs under the autocast of the forward pass, on any device; fairscale restores CUDA's alone, in
  fp16.
- Groups stand beside the network, not in it: names of parameters stay, and blocks stay units of FSDP2, which gathers
  a block's weights for the recomputation and keeps them for the backward pass.

Wrap after BatchNorm is converted. A network that recomputes cannot be copied: its forward points at itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from fairscale.nn.checkpoint import checkpoint_wrapper, is_recomputing
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.models.backbone import Backbone

__all__ = ["Ends", "in_pieces", "is_recomputing", "recompute"]

Ends = Sequence[Sequence[int]]
"""For each stage the blocks, counted from 1, at which a group ends: SEER's 10B had [[2], [7], [9, 17], []]."""


def recompute(backbone: Backbone, ends: Ends) -> None:
    """Recompute groups of blocks, in place; what follows a stage's last number keeps its activations.

    Raises ValueError for a stage or a block that the backbone has not.
    """
    stages = backbone.stages()
    depths = [len(list(stage.children())) for stage in stages]
    if ends and len(ends) != len(stages):
        raise ValueError(f"groups are given for {len(ends)} stages, but the backbone has {len(stages)}")
    for stage, depth, numbers in zip(stages, depths, ends, strict=False):
        if any(not 1 <= number <= depth for number in numbers) or list(numbers) != sorted(set(numbers)):
            raise ValueError(f"groups cannot end at blocks {list(numbers)} of a stage of {depth} blocks")
        if numbers:
            _regroup(stage, numbers)


def in_pieces(backbone: Backbone, pieces: int) -> None:
    """Run the backbone on equal parts of its images one after the other, and recompute each as a whole, in place."""
    if pieces == 1:
        return
    whole = _Recomputed(_Whole(backbone))

    def forward(images: Tensor) -> Tensor:
        return torch.cat([whole.run(part) for part in images.chunk(pieces)])

    backbone.forward = forward  # type: ignore[method-assign]


def _regroup(stage: nn.Module, ends: Sequence[int]) -> None:
    blocks = list(stage.children())
    groups = [_Recomputed(*blocks[first:last]) for first, last in zip([0, *ends], ends, strict=False)]
    rest = blocks[ends[-1] :]

    def forward(x: Tensor) -> Tensor:
        for group in groups:
            x = group.run(x)
        for block in rest:
            x = block(x)
        return x

    stage.forward = forward


class _Recomputed(nn.Module):
    """Runs blocks one after the other and keeps their input only."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norms = [layer for layer in self.modules() if isinstance(layer, _BatchNorm)]
        for layer in self.norms:
            layer.disable_patch_batchnorm = True  # type: ignore[assignment]
        # It calls the forward of this class, with the arguments that the instance's is given, both times.
        checkpoint_wrapper(self)

    def run(self, x: Tensor) -> Tensor:
        """What the blocks make of `x`."""
        autocast = _Autocast.now(x.device.type)
        with torch.autocast(autocast.device, enabled=False), warnings.catch_warnings():
            # Images need no gradient; the weights get theirs all the same.
            warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True")
            output: Tensor = self(x, autocast)
            return output

    def forward(self, x: Tensor, autocast: _Autocast) -> Tensor:
        with autocast.on(), _holding_statistics(self.norms if is_recomputing() else ()):
            for block in self.blocks:
                x = block(x)
        return x


class _Whole(nn.Module):
    """A backbone's own forward, which its instance no longer calls."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return type(self.backbone).forward(self.backbone, images)


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


@contextmanager
def _holding_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Keep running statistics as they are, while the statistics of the batch are used all the same."""
    tracked = [layer.track_running_stats for layer in norms]
    for layer in norms:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, before in zip(norms, tracked, strict=True):
            layer.track_running_stats = before
