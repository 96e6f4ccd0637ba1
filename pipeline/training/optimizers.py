"""Optimizers of a recipe. Rates are given per 256 images and scaled with the batch (Goyal et al. 2017).

The built optimizer keeps each group's full rate as `base_lr`; the schedule sets `lr = base_lr * factor` before each
step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from pipeline.training.larc import LARC

REFERENCE_BATCH = 256
"""Images that a recipe's rate is meant for."""


def scale_rate(rate: float, batch: int) -> float:
    """The rate for a global batch, given that for 256 images."""
    return rate * batch / REFERENCE_BATCH


class SGD(torch.optim.SGD):
    """SGD with momentum, and LARC on request.

    Momentum exists for every parameter from the first step on, also for one whose gradient is held back (SwAV's
    prototypes at the start); so a checkpoint taken at any step fits any other.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        name: Literal["sgd"] = "sgd"
        rate: float = 0.3
        """Peak learning rate per 256 images of the global batch."""
        momentum: float = 0.9
        """Share of the last update that is kept."""
        nesterov: bool = False
        """Whether to look ahead along the momentum."""
        weight_decay: float = 1e-6
        """Weight decay per step at a rate of 1."""
        decay: Literal["all", "matrices"] = "all"
        """What decays: all, as in SEER, or matrices, which leaves out biases and BatchNorm."""
        larc: LARC.Config | None = field(default_factory=LARC.Config)
        """Layer-wise rates for large batches; null for none."""

        def __post_init__(self) -> None:
            _check(self.rate, self.weight_decay)
            if not 0 <= self.momentum < 1:
                raise ValueError("momentum must be at least 0 and below 1")
            if self.nesterov and not self.momentum:
                raise ValueError("nesterov needs a momentum above 0")

        def build(self, module: nn.Module, batch: int) -> Optimizer:
            return SGD(self, module, batch)

    def __init__(self, config: Config, module: nn.Module, batch: int) -> None:
        self.larc = config.larc.build() if config.larc else None
        super().__init__(
            _groups(module, scale_rate(config.rate, batch), config.weight_decay, config.decay),
            momentum=config.momentum,
            nesterov=config.nesterov,
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                if self.state[parameter].get("momentum_buffer") is None:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        if self.larc:
            self.larc.adapt(self.param_groups)
            for group in self.param_groups:
                group["weight_decay"] = 0.0
        try:
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
        return loss


class AdamW:
    """AdamW, for fine-tuning."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        name: Literal["adamw"] = "adamw"
        rate: float = 5e-4
        """Peak learning rate per 256 images of the global batch."""
        betas: tuple[float, float] = (0.9, 0.999)
        """Shares of the last mean and mean square of the gradient that are kept."""
        weight_decay: float = 0.05
        """Weight decay per step at a rate of 1."""
        decay: Literal["all", "matrices"] = "matrices"
        """What decays: all, or matrices, which leaves out biases and BatchNorm."""

        def __post_init__(self) -> None:
            _check(self.rate, self.weight_decay)

        def build(self, module: nn.Module, batch: int) -> Optimizer:
            groups = _groups(module, scale_rate(self.rate, batch), self.weight_decay, self.decay)
            return torch.optim.AdamW(groups, betas=self.betas)


AnyOptimizer = Annotated[SGD.Config | AdamW.Config, Field(discriminator="name")]
"""The config of any optimizer."""


def _check(rate: float, weight_decay: float) -> None:
    if rate <= 0 or weight_decay < 0:
        raise ValueError("rate must be above 0 and weight_decay at least 0")


def _groups(module: nn.Module, rate: float, weight_decay: float, decay: str) -> list[dict[str, Any]]:
    """Parameter groups of what can learn: one, or matrices and the rest."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    matrices = parameters if decay == "all" else [p for p in parameters if p.ndim > 1]
    vectors = [] if decay == "all" else [p for p in parameters if p.ndim <= 1]
    return [
        {"params": group, "lr": rate, "base_lr": rate, "weight_decay": decays}
        for group, decays in ((matrices, weight_decay), (vectors, 0.0))
        if group
    ]
