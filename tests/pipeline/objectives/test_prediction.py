"""The loss of SwAV and its closed-form gradient against equation 2 and autograd in fp64."""

from __future__ import annotations

import pytest
import torch

from pipeline.objectives.prediction import swapped_prediction
from pipeline.objectives.sinkhorn import harden_, sinkhorn
from tests.pipeline.objectives.paper import codes_of, cosines, loss_of


@pytest.mark.parametrize(("views", "assigned"), [(5, 2), (2, 2), (2, 1), (4, 1), (3, 3)])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_loss_and_gradient_equal_the_transcription_of_the_paper(
    views: int, assigned: int, precision: torch.dtype, tolerance: float
) -> None:
    ours = cosines(views, 16, 12).to(precision).requires_grad_()
    theirs = ours.detach().double().requires_grad_()
    (codes,) = sinkhorn([ours[:assigned].detach()], 0.05, 3)
    loss = swapped_prediction(ours, codes, 0.1)
    expected = loss_of(theirs, [codes_of(scores.detach(), 0.05, 3) for scores in theirs[:assigned]], 0.1)
    (2 * loss).backward()
    (2 * expected).backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(loss.double(), expected, rtol=tolerance, atol=0)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=tolerance, atol=tolerance * 1e-2)


def test_the_closed_form_is_the_gradient_that_differences_show() -> None:
    scores = cosines(4, 3, 5).double().requires_grad_()
    (codes,) = sinkhorn([scores[:2].detach()], 0.05, 3)
    assert torch.autograd.gradcheck(lambda s: swapped_prediction(s, codes, 0.3), scores)


def test_scores_may_be_a_part_of_a_larger_tensor() -> None:
    whole = cosines(4, 8, 20).requires_grad_()
    part = whole[..., 5:15]
    codes = torch.full((2, 8, 10), 0.1)
    loss = swapped_prediction(part, codes, 0.1)
    loss.backward()
    alone = part.detach().clone().requires_grad_()
    swapped_prediction(alone, codes, 0.1).backward()
    assert whole.grad is not None
    torch.testing.assert_close(whole.grad[..., 5:15], alone.grad)
    assert not whole.grad[..., :5].any()
    assert not whole.grad[..., 15:].any()


@pytest.mark.parametrize("scale", [1, 100, 1e4])
@pytest.mark.parametrize("hard", [False, True])
def test_the_loss_and_its_gradient_are_finite_for_scores_that_break_fp16(scale: float, hard: bool) -> None:
    scores = (cosines(4, 16, 12) * scale).requires_grad_()
    assert scale == 1 or (scores.detach().half() / 0.03).exp().isinf().any()
    (codes,) = sinkhorn([scores[:2].detach()], 0.03, 3)
    loss = swapped_prediction(scores, harden_(codes) if hard else codes, 0.1)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    if hard:
        assert loss >= 0


def test_the_loss_is_at_least_the_entropy_of_the_codes_and_the_order_of_prototypes_does_not_matter() -> None:
    scores = cosines(4, 16, 12)
    (codes,) = sinkhorn([scores[:2]], 0.05, 3)
    loss = swapped_prediction(scores, codes, 0.1)
    assert loss >= torch.special.entr(codes).sum(-1).mean()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    permuted = swapped_prediction(scores[..., order], sinkhorn([scores[:2, :, order]], 0.05, 3)[0], 0.1)
    torch.testing.assert_close(loss, permuted)


def test_a_single_view_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two crops an image"):
        swapped_prediction(cosines(1, 4, 5), torch.full((1, 4, 5), 0.2), 0.1)
