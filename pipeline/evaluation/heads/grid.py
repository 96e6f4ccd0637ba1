"""Linear classifiers of frozen features, trained together: every rate on every tap, with and without BatchNorm.

A head is a tap of the backbone, BatchNorm before the classifier or not, and a learning rate. The heads of one tap lie
in one `Stack`, which scores them all by one matrix product; what they share (the backbone's forward pass, batches,
BatchNorm's statistics) is done once. None sees another: what a head becomes is what it becomes when trained alone.

- SGD knows one rate, 1. A head's own rate, and its weight decay, are put into its gradient: SGD with momentum is
  linear in these, so this is SGD at that rate, whatever the schedule.
- BatchNorm's gain and offset are folded into the classifier, W (g x + o) + b = (W g) x + (b + W o), so each head has
  its own and they cost no pass over the samples.
- A head whose loss is no number (its rate was too high) has a gradient of zero; the others go on.
- Classifiers begin at zero, where every class is equally likely, so no seed enters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from pipeline.models.laws import Law, constant
from pipeline.models.precision import wide


class Head(NamedTuple):
    """One classifier of a grid."""

    tap: str
    """Where in the backbone its features come from."""
    batch_norm: bool
    """Whether they pass through BatchNorm first."""
    rate: float
    """Peak learning rate per 256 images."""

    def __str__(self) -> str:
        return f"{self.tap}{', BatchNorm' if self.batch_norm else ''}, rate {self.rate:g}"


class Stack(nn.Module):
    """The heads of one tap at several rates: features (N, D), labels (N) -> losses (heads), right answers (heads).

    A label below 0 does not count. A loss is the mean over the labelled samples; right answers are the number of those
    whose class alone has the highest score. Rows of the weight go by class, then by head: softmax over a short last
    dimension would take most of a step on a CPU.
    """

    gain: nn.Parameter | None
    offset: nn.Parameter | None

    def __init__(self, width: int, classes: int, rates: Sequence[float], *, batch_norm: bool, decay: float) -> None:
        super().__init__()
        self.rates, self.classes, self.decay = tuple(rates), classes, decay
        heads = len(self.rates)
        self.weight = nn.Parameter(torch.zeros(heads * classes, width))
        self.bias = nn.Parameter(torch.zeros(heads * classes))
        self.norm = nn.BatchNorm1d(width, affine=False) if batch_norm else None
        self.register_parameter("gain", nn.Parameter(torch.ones(heads, width)) if batch_norm else None)
        self.register_parameter("offset", nn.Parameter(torch.zeros(heads, width)) if batch_norm else None)

    def laws(self) -> dict[str, Law]:
        zero = {"weight": constant(0.0), "bias": constant(0.0)}
        return zero if self.norm is None else {**zero, "gain": constant(1.0), "offset": constant(0.0)}

    def forward(self, features: Tensor, labels: Tensor, count: bool = True) -> tuple[Tensor, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            values = self._normalised(features)
            found = _Losses.apply(
                values, labels, self.rates, self.decay, count, self.weight, self.bias, self.gain, self.offset
            )
        return cast(tuple[Tensor, Tensor], found)

    def scores(self, features: Tensor) -> Tensor:
        """Class scores (N, classes, heads) of features (N, D)."""
        weight, bias = _folded(self.weight, self.bias, self.gain, self.offset)
        return torch.addmm(bias, self._normalised(features), weight.T).view(-1, self.classes, len(self.rates))

    def _normalised(self, features: Tensor) -> Tensor:
        values = wide(features).to(self.weight.dtype)
        return values if self.norm is None else self.norm(values)


class Said(NamedTuple):
    """What a grid says of a batch, its heads in the order of `Grid.heads`."""

    losses: Tensor
    """Mean over the labelled samples of each head's cross-entropy (heads)."""
    right: Tensor
    """Labelled samples that each head takes for what they are (heads), int64; zeros where nobody counts."""
    scores: Tensor | None
    """Class scores (N, classes) of the head that was asked for them."""


class Grid(nn.Module):
    """All heads: features by tap, labels (N), the place of a head that is asked for its scores -> `Said`."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        rates: tuple[float, ...] = tuple(round(10 ** (n / 5 - 2.8), 6) for n in range(20))
        """Peak learning rates per 256 images, all of which are tried: 0.0016 to 10 in twenty steps."""
        batch_norm: Literal["both", "with", "without"] = "both"
        """Whether features pass through BatchNorm before a classifier, as SEER's did, or not, as SwAV's; or both."""
        weight_decay: float = 0.0
        """Weight decay of the classifiers, biases too, per step at a rate of 1; gain and offset have none."""
        momentum: float = 0.9
        """Share of the last update that is kept."""
        nesterov: bool = False
        """Whether to look ahead along the momentum."""

        def __post_init__(self) -> None:
            if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
                raise ValueError("rates needs at least one number, all above 0")
            if len(set(self.rates)) < len(self.rates):
                raise ValueError("rates has the same number twice")
            if not 0 <= self.weight_decay < math.inf:
                raise ValueError("weight_decay must be at least 0")
            if not 0 <= self.momentum < 1:
                raise ValueError("momentum must be at least 0 and below 1")
            if self.nesterov and not self.momentum:
                raise ValueError("nesterov needs a momentum above 0")

        @property
        def norms(self) -> tuple[bool, ...]:
            """With BatchNorm or without, in the order of the stacks."""
            return {"both": (False, True), "with": (True,), "without": (False,)}[self.batch_norm]

        def build(self, widths: Mapping[str, int], classes: int, batch: int) -> Grid:
            """For taps with so many features each, and a global batch, with which rates grow linearly."""
            return Grid(self, widths, classes, batch)

    def __init__(self, config: Config, widths: Mapping[str, int], classes: int, batch: int) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        peaks = [rate * batch / 256 for rate in config.rates]
        self.taps = [(tap, norm) for tap in widths for norm in config.norms]
        self.stacks = nn.ModuleList(
            Stack(widths[tap], classes, peaks, batch_norm=norm, decay=config.weight_decay) for tap, norm in self.taps
        )

    @property
    def heads(self) -> list[Head]:
        """What each place of a result stands for."""
        return [Head(tap, norm, rate) for tap, norm in self.taps for rate in self.config.rates]

    def forward(
        self, features: Mapping[str, Tensor], labels: Tensor, head: int | None = None, count: bool = True
    ) -> Said:
        found = [stack(features[tap], labels, count) for stack, (tap, _) in zip(self.stacks, self.taps, strict=True)]
        losses, right = zip(*found, strict=True)
        return Said(torch.cat(losses), torch.cat(right), None if head is None else self._scores(features, head))

    def _scores(self, features: Mapping[str, Tensor], head: int) -> Tensor:
        number, place = divmod(head, len(self.config.rates))
        stack = cast(Stack, self.stacks[number])
        return stack.scores(features[self.taps[number][0]])[:, :, place]


def together(losses: Tensor, shown: Tensor | None = None) -> Tensor:
    """A scalar whose gradient is that of each loss in `losses` (heads), and whose value is the least of `shown`.

    `shown` are losses for people, those of all processes for instance; the same ones where not given. A loss that is
    no number counts for nothing; where none is a number, neither is the scalar.
    """
    shown = losses if shown is None else shown
    descended = losses.where(losses.isfinite(), 0.0).sum()
    least = shown.detach().where(shown.isfinite(), math.inf).min()
    return descended - descended.detach() + least


def _folded(weight: Tensor, bias: Tensor, gain: Tensor | None, offset: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of all heads of a stack, with BatchNorm's gain and offset in them."""
    if gain is None or offset is None:
        return weight, bias
    stacked = weight.view(-1, *gain.shape)
    return (stacked * gain).flatten(0, 1), bias + (stacked * offset).sum(2).flatten()


class _Losses(torch.autograd.Function):
    """Cross-entropy of stacked heads, with their rates and weight decay in the gradient. See `Stack`."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        labels: Tensor,
        rates: tuple[float, ...],
        decay: float,
        count: bool,
        weight: Tensor,
        bias: Tensor,
        gain: Tensor | None,
        offset: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        matrix, shift = _folded(weight, bias, gain, offset)
        scores = torch.addmm(shift, values, matrix.T).view(len(values), -1, len(rates))
        known = (labels >= 0).to(scores.dtype).view(-1, 1, 1)
        known = known / known.sum().clamp_min(1)
        places = labels.clamp_min(0).view(-1, 1, 1).expand(-1, 1, len(rates))
        right = torch.zeros(len(rates), dtype=torch.int64, device=scores.device)
        if count:
            first = (scores >= scores.gather(1, places)).sum(1) == 1
            right = (first & (labels >= 0).unsqueeze(1)).sum(0)
        logs = scores.log_softmax(1)
        losses = -(logs.gather(1, places) * known).sum((0, 1))
        if any(ctx.needs_input_grad):
            slopes = logs.exp_().scatter_add_(1, places, logs.new_full((), -1.0).expand(places.shape)).mul_(known)
            ctx.save_for_backward(values, slopes, weight, bias, gain, offset)
            ctx.rates, ctx.decay = rates, decay
        ctx.mark_non_differentiable(right)
        return losses, right

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> Any:
        values, slopes, weight, bias, gain, offset = ctx.saved_tensors
        factors = grad * torch.tensor(ctx.rates, dtype=grad.dtype, device=grad.device)
        # A product with 0 would leave what is no number as it is.
        slopes = (slopes * factors).nan_to_num_(0.0, 0.0, 0.0).flatten(1)
        grad_bias = slopes.sum(0)
        grad_weight = slopes.T @ values
        stacked, grads = (x.view(-1, len(factors), x.shape[1]) for x in (weight, grad_weight))
        grad_gain = grad_offset = None
        if gain is not None:
            by_class = grad_bias.view(-1, len(factors), 1)
            grad_gain = (grads * stacked).sum(0)
            grad_offset = (stacked * by_class).sum(0)
            grads.mul_(gain).addcmul_(by_class, offset)
        if ctx.decay:
            pull = factors * ctx.decay
            grads.add_((stacked * pull.unsqueeze(1)).nan_to_num_(0.0, 0.0, 0.0))
            grad_bias += (bias.view(-1, len(factors)) * pull).nan_to_num_(0.0, 0.0, 0.0).flatten()
        return None, None, None, None, None, grad_weight, grad_bias, grad_gain, grad_offset
