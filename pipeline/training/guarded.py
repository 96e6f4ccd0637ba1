"""The step that every optimizer here takes; what differs is `update`.

    optimizer.scale(loss).backward()
    optimizer.step()

1. one collective gives the norms of all gradients, and of the parameters where layer-wise rates need them;
2. gradients are divided by the loss scale and clipped to a global norm;
3. the update, by torch's fused kernels, which read from the device whether to leave everything as it was;
4. the counters and the loss scale move.

A norm that is not finite means that a gradient is not, on any process. Then parameters and state stay as they are, to
the bit. The host never waits to learn it: what was found stands in `metrics`, for whoever reads them now and then.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.training.loss_scaling import GOOD, SCALE, LossScaler
from pipeline.training.norms import global_norms, local

SKIPPED, IN_ROW = "skipped", "skipped_in_row"
_CONTROL = (SCALE, GOOD, SKIPPED, IN_ROW)


@dataclass
class Due:
    """What a group has to update: those of its parameters that have a gradient, as this process holds them."""

    group: dict[str, Any]
    state: list[dict[str, Any]]
    values: list[Tensor]
    gradients: list[Tensor]
    sizes: Tensor
    """Norms of the whole parameters (n); empty unless the optimizer asks for them."""
    slopes: Tensor
    """Norms of their whole gradients (n), unscaled and clipped."""

    def held(self, name: str) -> list[Tensor]:
        """What this process holds of a state, parameter by parameter."""
        return [local(state[name]) for state in self.state]

    def rescale(self, factors: Tensor, decay: float) -> None:
        """Make every gradient g factor * (g + decay * p), given a factor for each (n)."""
        if decay:
            torch._foreach_add_(self.gradients, self.values, alpha=decay)
        torch._foreach_mul_(self.gradients, list(factors.unbind()))


class Guarded(torch.optim.Optimizer, abc.ABC):
    """An optimizer whose `step` does all that follows the backward pass, and reads nothing back from the device.

    Loss scale and counters lie in the first parameter group, so that torch.distributed.checkpoint carries them with
    the rest of its state. All state exists from the start, also for a parameter whose gradient is held back (SwAV's
    prototypes): a checkpoint of any step fits any other, and none is ever made up by a step of zeros.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        defaults: dict[str, Any],
        *,
        clip_norm: float | None = None,
        scaler: LossScaler | None = None,
    ) -> None:
        super().__init__(groups, defaults)
        self.clip_norm, self.scaler = clip_norm, scaler
        device = self.param_groups[0]["params"][0].device
        self.param_groups[0] |= {
            SCALE: torch.full((), scaler.config.initial if scaler else 1.0, device=device),
            GOOD: torch.zeros((), dtype=torch.int32, device=device),
            SKIPPED: torch.zeros((), dtype=torch.int64, device=device),
            IN_ROW: torch.zeros((), dtype=torch.int64, device=device),
        }
        self._norm = torch.zeros((), device=device)
        for group in self.param_groups:
            for parameter in group["params"]:
                # Also where it is empty: torch takes an optimizer without any state for one that has yet to step.
                self.state[parameter] = self.start(group, parameter)

    @property
    def needs_sizes(self) -> bool:
        """Whether `update` asks for the norms of parameters."""
        return False

    @abc.abstractmethod
    def start(self, group: dict[str, Any], parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter before the first step."""

    @abc.abstractmethod
    def update(self, due: Due, found: Tensor) -> None:
        """Change a group's parameters and state, unless `found` is 1; gradients may be overwritten."""

    @property
    def metrics(self) -> dict[str, Tensor]:
        """What the last step found, as scalars on the device.

        `grad_norm`: global norm of the gradient, unscaled, before clipping. `skipped`: steps left out so far for a
        gradient that was not finite. `skipped_in_row`: of these the last ones. `loss_scale`: of the next step.
        """
        first = self.param_groups[0]
        return {"grad_norm": self._norm, **{name: first[name] for name in (SKIPPED, IN_ROW, SCALE)}}

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to call `backward` on: multiplied by the loss scale where there is one (fp16)."""
        return loss * self.param_groups[0][SCALE] if self.scaler else loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state back; the loss scale and the counters stay on their device, wherever the given ones are."""
        kept = {name: self.param_groups[0][name] for name in _CONTROL}
        super().load_state_dict(state_dict)
        for name, tensor in kept.items():
            self.param_groups[0][name] = tensor.copy_(self.param_groups[0][name])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """All that follows the backward pass. A collective where parameters are sharded. Gives what `closure` gave."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        learning = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
        if any(learning):
            self._step(learning)
        return loss

    def _step(self, learning: list[list[Tensor]]) -> None:
        parameters = [p for group in learning for p in group]
        whole = [p.grad for p in parameters if p.grad is not None]
        norms = global_norms([*parameters, *whole] if self.needs_sizes else whole)
        gradients = [_laid_out_as(local(p), local(g)) for p, g in zip(parameters, whole, strict=True)]
        sizes, slopes = norms[: -len(parameters)], norms[-len(parameters) :]
        total = torch.linalg.vector_norm(slopes)
        found = total.isfinite().logical_not().float()
        if self.scaler or self.clip_norm is not None:
            share = self.param_groups[0][SCALE].to(total.dtype).reciprocal() if self.scaler else torch.ones_like(total)
            total = total * share
            if self.clip_norm is not None:
                share = share * (self.clip_norm / (total + 1e-6)).clamp_max(1)
            slopes = slopes * share
            torch._foreach_mul_(gradients, share)
        self._norm = total
        done = 0
        for group, mine in zip(self.param_groups, learning, strict=True):
            part = slice(done, done + len(mine))
            done += len(mine)
            if mine:
                state = [self.state[p] for p in mine]
                values = [local(p) for p in mine]
                self.update(Due(group, state, values, gradients[part], sizes[part], slopes[part]), found)
        self._count(found)

    def _count(self, found: Tensor) -> None:
        first = self.param_groups[0]
        whole = found.to(torch.int64)
        first[SKIPPED] += whole
        first[IN_ROW] += 1
        first[IN_ROW] *= whole
        if self.scaler:
            self.scaler.update(first, found)


def _laid_out_as(value: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with the strides of its parameter, which fused kernels take for granted without looking."""
    return gradient if gradient.stride() == value.stride() else torch.empty_like(value).copy_(gradient)
