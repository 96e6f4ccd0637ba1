"""An exponential moving average of the weights, which is often better than the weights at the end of training.

    average = decay * average + (1 - decay) * weights          after each step

Buffers are averaged as well, as timm does it: weights belong together with the statistics of their BatchNorms.

Each process averages what it holds, so a sharded network has a sharded average, and no step has a collective more. It
is a function of the weights of all steps and of their numbers. A checkpoint carries it beside them, under the same
names, and so it goes on to the bit, or on any other number of processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict

from pipeline.training.norms import local


class Average:
    """The average of all floating-point tensors of a module; of the others, the newest."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        decay: float = 0.9999
        """Share of the average that is kept at a step: 0.9999 spans the last 10,000 or so."""
        warm: bool = True
        """Whether it spans fewer at first: after t steps the decay is at most 1 - t ** (-2/3), 0.99 after 1,000."""

        def __post_init__(self) -> None:
            if not 0 <= self.decay < 1:
                raise ValueError(f"decay must be at least 0 and below 1, not {self.decay:g}")

        def at(self, step: int) -> float:
            """The decay at the end of step `step`, counted from 1. The form of the warm-up is timm's (ModelEmaV3)."""
            return min(self.decay, 1 - step ** (-2 / 3)) if self.warm else self.decay

        def build(self, module: nn.Module) -> Average:
            return Average(self, module)

    def __init__(self, config: Config, module: nn.Module) -> None:
        """Begin with what `module` holds; it may be sharded, and must have its memory. A collective."""
        self.config = config
        live = cast(dict[str, Tensor], get_model_state_dict(module))
        self.tensors: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in live.items()}
        """By their names in a checkpoint, each as it is sharded."""
        self._averaged: tuple[list[Tensor], list[Tensor]] = [], []
        self._copied: tuple[list[Tensor], list[Tensor]] = [], []
        for name, tensor in live.items():
            kind = self._averaged if tensor.is_floating_point() else self._copied
            kind[0].append(local(self.tensors[name]))
            kind[1].append(local(tensor.detach()))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are at the end of step `step`, counted from 1. No collective, and no wait."""
        torch._foreach_lerp_(*self._averaged, 1 - self.config.at(step))
        if self._copied[0]:
            torch._foreach_copy_(*self._copied)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint had."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
