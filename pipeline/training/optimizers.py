"""Optimizers of a recipe: SGD with or without LARC, LARS, AdamW. Their step is that of `guarded.py`.

    optimizer = SGD.Config(rate=0.3).build(objective, batch=8192)

The built optimizer keeps each group's full rate as `base_lr`; the schedule sets `lr = base_lr * factor` before each
step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.training.groups import Member, groups, is_offset
from pipeline.training.guarded import Due, Guarded
from pipeline.training.larc import LARC
from pipeline.training.lars import local_rates
from pipeline.training.layers import Layers
from pipeline.training.loss_scaling import LossScaler


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every optimizer is asked for."""

    rate: float = 0.3
    """Peak learning rate, for a global batch of `per` images."""
    per: int | None = 256
    """Images of the batch that `rate` is meant for; null where the rate is that of the batch itself."""
    scaling: Literal["linear", "sqrt"] | None = None
    """How the rate grows with the batch (null is linear where `per` is given)."""
    weight_decay: float = 0.0
    """Weight decay per step at a rate of 1."""
    decay: Literal["all", "matrices"] = "all"
    """What decays: all, as in SEER, or matrices, which leaves out biases and normalisation."""
    clip_norm: float | None = None
    """Global norm that the gradient is shortened to where it is longer; null for never."""
    layers: Layers = field(default_factory=Layers)
    """Rates along the depth of the network, and of the head."""

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise ValueError("rate must be above 0 and weight_decay at least 0")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError("clip_norm must be above 0, or null for no clipping")
        if self.per is not None and self.per < 1:
            raise ValueError(f"per is {self.per}; give the batch that the rate is meant for, such as 256, or null")
        if self.scaling and self.per is None:
            raise ValueError(
                f"scaling is {self.scaling}, but per is null, so the rate has no base to be scaled from; "
                "give the batch that it is meant for, such as per: 256, or leave scaling out"
            )

    def peak(self, batch: int) -> float:
        """The full rate for a global batch (Goyal et al. 2017 for linear scaling)."""
        share = batch / self.per if self.per else 1.0
        return self.rate * (share**0.5 if self.scaling == "sqrt" else share)

    def settle(self, member: Member, batch: int) -> dict[str, Any]:
        """What a parameter's group has."""
        kept = self.decay == "matrices" and is_offset(member)
        rate = self.peak(batch) * self.layers.factor(member)
        decay = self.layers.weight_decay(member, self.weight_decay)
        return {"lr": rate, "base_lr": rate, "weight_decay": 0.0 if kept else decay}


class SGD(Guarded):
    """SGD with momentum, and LARC on request."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: Literal["sgd"] = "sgd"
        momentum: float = 0.9
        """Share of the last update that is kept."""
        nesterov: bool = False
        """Whether to look ahead along the momentum."""
        weight_decay: float = 1e-6
        """Weight decay per step at a rate of 1."""
        larc: LARC.Config | None = field(default_factory=LARC.Config)
        """Layer-wise rates for large batches; null for none."""

        def __post_init__(self) -> None:
            super().__post_init__()
            _check_momentum(self.momentum, self.nesterov)

        def build(self, module: nn.Module, batch: int, scaler: LossScaler.Config | None = None) -> SGD:
            """For a module that is sharded already, and a global batch; with a scaler where it trains in fp16."""
            return SGD(self, groups(module, lambda member: self.settle(member, batch)), scaler)

    def __init__(
        self, config: Config | LARS.Config, parameters: list[dict[str, Any]], scaler: LossScaler.Config | None
    ) -> None:
        self.momentum, self.nesterov = config.momentum, config.nesterov
        super().__init__(parameters, {}, clip_norm=config.clip_norm, scaler=scaler.build() if scaler else None)
        self.larc = config.larc.build() if isinstance(config, SGD.Config) and config.larc else None

    @property
    def needs_sizes(self) -> bool:
        return self.larc is not None

    def start(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, Tensor]:
        return {"momentum_buffer": torch.zeros_like(parameter)} if self.momentum else {}

    def update(self, due: Due, found: Tensor) -> None:
        rate, decay = due.group["lr"], due.group["weight_decay"]
        if self.larc:
            due.rescale(self.larc.factors(due.sizes, due.slopes, rate=rate, decay=decay), decay)
            decay = 0.0
        self.descend(due, found, rate, decay)

    def descend(self, due: Due, found: Tensor, rate: float, decay: float) -> None:
        """SGD's own update."""
        torch._fused_sgd_(
            due.values,
            due.gradients,
            due.held("momentum_buffer") if self.momentum else [],
            lr=rate,
            weight_decay=decay,
            momentum=self.momentum,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,  # momentum starts at zero instead
            found_inf=found,
        )


class LARS(SGD):
    """SGD with the layer-wise rates of `lars.py`."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: Literal["lars"] = "lars"
        momentum: float = 0.9
        """Share of the last update that is kept."""
        nesterov: bool = False
        """Whether to look ahead along the momentum."""
        momentum_of: Literal["gradients", "updates"] = "gradients"
        """What momentum adds up: gradients (lightly, timm), or these times the rate (the paper, mmpretrain)."""
        weight_decay: float = 1e-6
        """Weight decay per step at a rate of 1."""
        decay: Literal["all", "matrices"] = "matrices"
        """What decays: all, or matrices, which leaves out biases and normalisation."""
        adapt: Literal["all", "matrices"] = "matrices"
        """What has layer-wise rates: all, or matrices."""
        trust: float = 1e-3
        """Trust coefficient: how much of its own size a layer may move at a rate of 1."""
        eps: float = 1e-8
        """Added to the denominator."""

        def __post_init__(self) -> None:
            super().__post_init__()
            _check_momentum(self.momentum, self.nesterov)
            if not self.trust > 0 or not self.eps >= 0:
                raise ValueError("trust must be above 0 and eps at least 0")

        def settle(self, member: Member, batch: int) -> dict[str, Any]:
            return {**super().settle(member, batch), "adapt": self.adapt == "all" or not is_offset(member)}

        def build(self, module: nn.Module, batch: int, scaler: LossScaler.Config | None = None) -> LARS:
            """For a module that is sharded already, and a global batch; with a scaler where it trains in fp16."""
            return LARS(self, groups(module, lambda member: self.settle(member, batch)), scaler)

    def __init__(self, config: Config, parameters: list[dict[str, Any]], scaler: LossScaler.Config | None) -> None:
        super().__init__(config, parameters, scaler)
        self.config = config

    @property
    def needs_sizes(self) -> bool:
        return True

    def update(self, due: Due, found: Tensor) -> None:
        config, rate, decay = self.config, due.group["lr"], due.group["weight_decay"]
        updates = config.momentum_of == "updates"
        if due.group["adapt"] or updates:
            factors = torch.ones_like(due.sizes)
            if due.group["adapt"]:
                factors = local_rates(due.sizes, due.slopes, trust=config.trust, decay=decay, eps=config.eps)
            due.rescale(factors * rate if updates else factors, decay)
            decay = 0.0
        self.descend(due, found, 1.0 if updates else rate, decay)


class AdamW(Guarded):
    """AdamW (Loshchilov and Hutter 2019), for fine-tuning."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        name: Literal["adamw"] = "adamw"
        rate: float = 5e-4
        """Peak learning rate, for a global batch of `per` images."""
        betas: tuple[float, float] = (0.9, 0.999)
        """Shares of the last mean and mean square of the gradient that are kept."""
        eps: float = 1e-8
        """Added to the denominator."""
        weight_decay: float = 0.05
        """Weight decay per step at a rate of 1."""
        decay: Literal["all", "matrices"] = "matrices"
        """What decays: all, or matrices, which leaves out biases and normalisation."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if not all(0 <= beta < 1 for beta in self.betas) or self.eps <= 0:
                raise ValueError("betas must be at least 0 and below 1, and eps above 0")

        def build(self, module: nn.Module, batch: int, scaler: LossScaler.Config | None = None) -> AdamW:
            """For a module that is sharded already, and a global batch; with a scaler where it trains in fp16."""
            return AdamW(self, groups(module, lambda member: self.settle(member, batch)), scaler)

    def __init__(self, config: Config, parameters: list[dict[str, Any]], scaler: LossScaler.Config | None) -> None:
        self.config = config
        # torch keeps `step` in fp32 on the device, when it loads a state, only for groups that say they are fused.
        super().__init__(
            parameters, {"fused": True}, clip_norm=config.clip_norm, scaler=scaler.build() if scaler else None
        )

    def start(self, group: Mapping[str, Any], parameter: Tensor) -> dict[str, Tensor]:
        return {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def update(self, due: Due, found: Tensor) -> None:
        steps = due.held("step")
        torch._foreach_add_(steps, [1 - found] * len(steps))
        torch._fused_adamw_(
            due.values,
            due.gradients,
            due.held("exp_avg"),
            due.held("exp_avg_sq"),
            [],
            steps,
            lr=due.group["lr"],
            beta1=self.config.betas[0],
            beta2=self.config.betas[1],
            weight_decay=due.group["weight_decay"],
            eps=self.config.eps,
            amsgrad=False,
            maximize=False,
            found_inf=found,
        )


AnyOptimizer = Annotated[SGD.Config | LARS.Config | AdamW.Config, Field(discriminator="name")]
"""The config of any optimizer."""


def _check_momentum(momentum: float, nesterov: bool) -> None:
    if not 0 <= momentum < 1:
        raise ValueError("momentum must be at least 0 and below 1")
    if nesterov and not momentum:
        raise ValueError("nesterov needs a momentum above 0")
