"""Swapped prediction: the loss of SwAV, from scores and codes (Caron et al. 2020, eq. 2, and section 3.3).

With K in the thousands the scores are the largest tensor behind the backbone. So the gradient, which has a closed
form, is found in the forward pass, one view at a time: the only tensor of that size that is made and kept.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.models.precision import wide


def swapped_prediction(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of codes (A, batch, K) and the scores (V, batch, K) of every other view; a scalar.

    The codes are those of the first A of the V views. Raises ValueError for a single view.
    """
    if len(scores) < 2:
        raise ValueError("SwAV predicts one view from another, so it needs at least two crops an image")
    with torch.autocast(scores.device.type, enabled=False):
        return cast(Tensor, _SwappedPrediction.apply(wide(scores), codes, temperature))


class _SwappedPrediction(torch.autograd.Function):
    """Of view v, n codes c are predicted. As a code sums to one, this costs n * logsumexp(x) - sum of c . x, with
    x = scores / temperature; its gradient in x is n * softmax(x) - sum of c.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
        views, batch, assigned = len(scores), scores.shape[1], len(codes)
        pairs = batch * assigned * (views - 1)
        every = codes.sum(0)
        gradient = torch.empty(scores.shape, dtype=scores.dtype, device=scores.device)
        loss = scores.new_zeros(())
        for view in range(views):
            targets = every - codes[view] if view < assigned else every
            count = assigned - (view < assigned)
            x = scores[view] * (1 / temperature)
            likely = torch.softmax(x, -1, out=gradient[view])
            norms = x.amax(-1) - likely.amax(-1).log()
            loss += (count * norms.sum() - x.mul_(targets).sum()) / pairs
            likely.mul_(count).sub_(targets).mul_(1 / (pairs * temperature))
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None
