"""Loss scaling for fp16, whose smallest number is 6e-8: the loss is multiplied, gradients are divided again.

The scale grows after so many good steps and falls after a step with a gradient that is not finite (Micikevicius et al.
2018; torch's GradScaler). Scale and count are tensors in the optimizer's state: every process finds the same verdict
from the same global norm, so every process has the same scale, and a checkpoint carries it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SCALE, GOOD = "loss_scale", "good_steps"


class LossScaler:
    """Moves the scale, on the device."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        initial: float = 65536.0
        """Scale of the first step."""
        growth: float = 2.0
        """What the scale is multiplied by after `interval` good steps."""
        backoff: float = 0.5
        """What the scale is multiplied by after a step whose gradients are not finite."""
        interval: int = 2000
        """Good steps in a row before the scale grows."""

        def __post_init__(self) -> None:
            if not 0 < self.initial < float("inf"):
                raise ValueError(f"initial must be a number above 0, not {self.initial}")
            if self.growth < 1 or not 0 < self.backoff < 1:
                raise ValueError("growth must be at least 1 and backoff between 0 and 1")
            if self.interval < 1:
                raise ValueError("interval must be at least 1 step")

        def build(self) -> LossScaler:
            return LossScaler(self)

    def __init__(self, config: Config) -> None:
        self.config = config

    def update(self, state: dict[str, Any], found: Tensor) -> None:
        """Move `state["loss_scale"]` after a step; `found` is 1 where something was not finite, else 0."""
        config = self.config
        torch._amp_update_scale_(state[SCALE], state[GOOD], found, config.growth, config.backoff, config.interval)
