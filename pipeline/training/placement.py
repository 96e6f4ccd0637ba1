"""Which blocks are best recomputed together: `trainer.recompute=auto`.

Between the forward and the backward pass the inputs of all groups are kept; while a group's backward pass runs, its
activations come on top, and the inputs of later groups are gone. The most that is held at once is therefore

    max over groups g of (inputs of the groups up to g + activations inside g)

and few large groups or many small ones are both too much (Chen et al. 2016 take the square root of the depth, which is
best where all blocks are alike; a RegNet's first blocks are many times its last). The smallest such peak is found
exactly, over all ways to cut each stage into groups. The last group is not recomputed: its backward pass comes first,
so its activations would be needed at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from pipeline.models.backbone import Backbone

_SIDE = 224
"""Pixels. Another side changes all figures by nearly the same factor, so not the choice."""


def auto_groups(backbone: Backbone) -> list[list[int]]:
    """For each stage the blocks, counted from 1, at which a group ends; for a backbone that is not wrapped yet."""
    depths = [len(list(stage.children())) for stage in backbone.stages()]
    inputs, kept = block_costs(backbone)
    ends = best_groups(inputs, kept, depths)
    last = next((stage for stage in reversed(ends) if stage), [])
    return [stage[:-1] if stage is last else stage for stage in ends]


def best_groups(inputs: Sequence[int], kept: Sequence[int], depths: Sequence[int]) -> list[list[int]]:
    """Groups, as `auto_groups` gives them but with the last, whose peak is smallest.

    `inputs` and `kept` are the sizes of each block's input and of the activations it keeps; `depths` those of stages.
    """
    starts = [0, *accumulate(depths)]
    first = [start for start, depth in zip(starts, depths, strict=False) for _ in range(depth)]
    low, high = 0, sum(inputs) + sum(kept)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _cuts(inputs, kept, first, middle) is not None else (middle + 1, high)
    cuts = _cuts(inputs, kept, first, low)
    assert cuts is not None
    return [[cut - start for cut in cuts if start < cut <= start + depth] for start, depth in zip(starts, depths)]  # noqa: B905


def _cuts(inputs: Sequence[int], kept: Sequence[int], first: Sequence[int], most: int) -> list[int] | None:
    """Ends of groups, counted over all blocks, whose peak is at most `most` and whose inputs are fewest; or None."""
    least: list[float] = [0.0]
    came_from = [0]
    for end in range(1, len(inputs) + 1):
        best, start_of_best, inside = math.inf, -1, 0
        for start in range(end - 1, first[end - 1] - 1, -1):
            inside += kept[start]
            total = least[start] + inputs[start]
            if total + inside <= most and total < best:
                best, start_of_best = total, start
        least.append(best)
        came_from.append(start_of_best)
    if least[-1] == math.inf:
        return None
    cuts, end = [], len(inputs)
    while end:
        cuts.append(end)
        end = came_from[end]
    return cuts[::-1]


def block_costs(backbone: Backbone) -> tuple[list[int], list[int]]:
    """For each block, in numbers an image: the size of its input, and of what its forward pass keeps beyond that."""
    inputs: list[int] = []
    kept: list[int] = []
    seen: set[int] = set()
    alive: list[Tensor] = []

    def enter(block: nn.Module, arguments: tuple[Tensor]) -> None:
        inputs.append(arguments[0].numel())
        kept.append(0)
        seen.add(_storage(arguments[0]))

    def note(tensor: Tensor) -> Tensor:
        if kept and tensor.ndim == 4 and not isinstance(tensor, nn.Parameter) and _storage(tensor) not in seen:
            seen.add(_storage(tensor))
            alive.append(tensor)  # so that its storage is nobody else's meanwhile
            kept[-1] += tensor.numel()
        return tensor

    device = next(backbone.parameters()).device
    handles = [block.register_forward_pre_hook(enter) for block in backbone.blocks()]
    training = backbone.training
    try:
        backbone.eval()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            backbone.features(torch.empty(1, 3, _SIDE, _SIDE, device=device).requires_grad_())
    finally:
        backbone.train(training)
        for handle in handles:
            handle.remove()
    return inputs, kept


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
