"""Mixup and CutMix: timm's, keyed by sample and step, and the same on several processes."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats
from timm.data.mixup import Mixup
from torch import Tensor
from torch.nn import functional as F

from data_shards.order import Stream
from pipeline.models.batchnorm import convert
from pipeline.objectives import Classification, Progress
from pipeline.objectives.mixing import Mixed, Mixing, box, partners, soft_targets
from pipeline.views.views import Views
from tests.distributed import on_processes
from tests.pipeline.networks import in_fp64, random_views, small_backbone

BOTH = Mixing.Config(mixup=0.8, cutmix=1.0)
SIZE = 12


def pictures(count: int, size: int = SIZE) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(count, 3, size, size).to(memory_format=torch.channels_last)


def every(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def test_pictures_and_targets_are_those_of_timm_for_the_same_shares_and_boxes() -> None:
    """timm's mode `elem` mixes row i with row n - 1 - i; rows are put so that these are our pairs."""
    count, classes, smoothing = 32, 5, 0.1
    images, labels = pictures(count), torch.arange(count) % classes
    mixing = BOTH.build(seed=3)
    mixed = mixing(images, torch.arange(count), 7, every(count))
    targets = soft_targets(labels, mixed, classes, smoothing)
    share, boxes = mixing.draw(torch.arange(count), 7, 1, SIZE)
    rows = torch.cat([torch.arange(0, count, 2), torch.arange(1, count, 2).flip(0)])
    order = {i: int(row) for i, row in enumerate(rows)}
    cuts = (boxes[:, 1] > boxes[:, 0])[rows].numpy()
    assert 0 < cuts.sum() < count
    theirs = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, mode="elem", label_smoothing=smoothing, num_classes=classes)
    shares = share[rows].numpy().astype(np.float32)
    given = iter([order[i] for i in range(count) if cuts[i]])

    def bounds(shape: Any, lam: float, **_: Any) -> tuple[Any, float]:
        row = next(given)
        return tuple(boxes[row].tolist()), float(share[row])

    with (
        mock.patch.object(theirs, "_params_per_elem", return_value=(shares, cuts)),
        mock.patch("timm.data.mixup.cutmix_bbox_and_lam", bounds),
    ):
        expected, wanted = theirs(images[rows].clone(), labels[rows])
    torch.testing.assert_close(mixed.images[rows], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(targets[rows], wanted, atol=1e-6, rtol=1e-5)


def test_boxes_are_those_of_the_paper() -> None:
    """Its equation: a box of sides sqrt(1 - share) around a uniform point, cut off at the edges."""
    torch.manual_seed(1)
    shares, centres = torch.rand(200).double(), torch.rand(200, 2).double()
    for found, share, (y, x) in zip(box(shares, centres, 32).tolist(), shares.tolist(), centres.tolist(), strict=True):
        side = int(32 * (1 - share) ** 0.5)
        y, x = int(y * 32), int(x * 32)
        top, left = y - side // 2, x - side // 2
        assert found == [max(0, top), min(32, top + side), max(0, left), min(32, left + side)]


def test_shares_have_the_law_that_is_asked_for() -> None:
    indices = torch.arange(8000)
    for config, alpha in ((Mixing.Config(mixup=0.4), 0.4), (Mixing.Config(mixup=2.0), 2.0)):
        share, boxes = config.build(seed=0).draw(indices, 0, 1, 32)
        assert stats.kstest(share.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3
        assert (boxes[:, 1] == boxes[:, 0]).all()
    share, boxes = Mixing.Config(cutmix=1.0, probability=0.3).build(seed=0).draw(indices, 0, 1, 224)
    assert ((boxes[:, 1] > boxes[:, 0]).double().mean()).item() == pytest.approx(0.3, abs=0.02)
    assert (share == 1).double().mean().item() == pytest.approx(0.7, abs=0.02)
    _, boxes = Mixing.Config(mixup=0.8, cutmix=1.0, switch=0.25).build(seed=0).draw(indices, 0, 1, 224)
    assert (boxes[:, 1] > boxes[:, 0]).double().mean().item() == pytest.approx(0.25, abs=0.02)


def test_the_share_of_a_cut_picture_is_the_area_that_it_keeps() -> None:
    white, black = torch.ones(1, 3, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)
    images = torch.cat([white, black]).repeat(64, 1, 1, 1)
    mixed = Mixing.Config(cutmix=1.0).build(seed=0)(images, torch.arange(128), 0, every(128))
    own = torch.where(torch.arange(128) % 2 == 0, mixed.images.mean((1, 2, 3)), 1 - mixed.images.mean((1, 2, 3)))
    torch.testing.assert_close(own, mixed.share)


def test_a_draw_is_of_its_seed_step_sample_and_view() -> None:
    mixing, indices = BOTH.build(seed=3), torch.arange(6)
    first = mixing.draw(indices, 7, 2, SIZE)
    backwards = mixing.draw(indices.flip(0), 7, 1, SIZE)
    assert torch.equal(backwards[0].flip(0), first[0][:6])
    assert torch.equal(backwards[1].flip(0), first[1][:6])
    assert not torch.equal(first[0][6:], first[0][:6])
    for other in (BOTH.build(seed=4).draw(indices, 7, 1, SIZE), mixing.draw(indices, 8, 1, SIZE)):
        assert (other[0] != first[0][:6]).all()


def test_a_sample_without_a_label_is_neither_mixed_nor_mixed_into_another() -> None:
    images, may = pictures(6), every(6)
    may[3] = False
    mixed = Mixing.Config(mixup=1.0).build(seed=0)(images, torch.arange(6), 0, may)
    assert mixed.partner.tolist() == [1, 0, 3, 2, 5, 4]
    assert torch.equal(mixed.images[2:4], images[2:4])
    assert mixed.share[2:4].tolist() == [1, 1]
    assert (mixed.images[[0, 1, 4, 5]] != images[[0, 1, 4, 5]]).all()


def test_mixed_pictures_keep_precision_and_layout_and_labels_are_rounded_with_them() -> None:
    images = pictures(8).bfloat16()
    mixed = BOTH.build(seed=0)(images, torch.arange(8), 0, every(8))
    assert mixed.images.dtype == torch.bfloat16
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(mixed.share.bfloat16().float(), mixed.share)


@pytest.mark.parametrize("samples", [3000, 300_000])
@pytest.mark.parametrize("batch", [64, 96])
def test_processes_pair_the_samples_that_one_pairs(samples: int, batch: int) -> None:
    stream = Stream([samples], block=8192)
    dealt = stream.lane_count > 1
    assert dealt == (samples > 3000)

    def pairs(start: int, rank: int, world: int) -> set[tuple[int, int]]:
        mine = stream.share(start, start + batch, rank, world).tolist()
        return {(mine[i], mine[j]) for i, j in enumerate(partners(len(mine), dealt).tolist())}

    for step in range(5):
        alone = pairs(step * batch, 0, 1)
        assert all(a != b and (b, a) in alone for a, b in alone)
        for world in (2, 4, 8, 16):
            assert set().union(*(pairs(step * batch, rank, world) for rank in range(world))) == alone


@pytest.mark.parametrize("dealt", [True, False])
@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_every_row_has_a_partner_whatever_their_number(count: int, dealt: bool) -> None:
    found = partners(count, dealt)
    assert len(found) == count
    assert all(0 <= row < count for row in found.tolist())


def classification(**changes: Any) -> Classification:
    torch.manual_seed(0)
    return Classification.Config(mixing=BOTH, **changes).build(small_backbone(), 3, seed=5, dealt=True)


def test_the_loss_is_the_cross_entropy_with_the_soft_targets() -> None:
    objective, views = classification(label_smoothing=0.1), random_views(6)
    labels = views.labels.clone()
    labels[2] = -1
    views = Views(views.crops, views.indices, labels)
    outcome = objective(views, Progress(step=2))
    images = objective.backbone.prepare(views.crops[0])
    mixed = objective.mixing(images, views.indices, 2, labels.repeat(2) >= 0)
    assert not torch.equal(mixed.images, images)
    scores = objective.classifier(objective.backbone(mixed.images)).log_softmax(1)
    expected = torch.zeros(())
    for row, label in enumerate(labels.repeat(2).tolist()):
        if label >= 0:
            other, share = int(labels.repeat(2)[mixed.partner[row]]), mixed.share[row]
            blend = share * F.one_hot(torch.tensor(label), 3) + (1 - share) * F.one_hot(torch.tensor(max(other, 0)), 3)
            expected = expected - ((0.9 * blend + 0.1 / 3) * scores[row]).sum() / 10
    torch.testing.assert_close(outcome.loss, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_mixed_in_evaluation_and_another_step_mixes_otherwise() -> None:
    objective, views = classification(), random_views(6)
    assert objective(views, Progress(step=1)).loss != objective(views, Progress(step=2)).loss
    objective.eval()
    plain = Classification.Config().build(objective.backbone, 3).eval()
    plain.classifier = objective.classifier
    assert torch.equal(objective(views, Progress()).loss, plain(views, Progress()).loss)


def share_of_step(rank: int, world: int) -> tuple[Tensor, dict[str, Tensor]]:
    """A step on the samples that the loader deals to a process, four classes of a lane each."""
    objective, views = in_fp64(classification()), random_views(16, ((1, 16),))
    convert(objective)
    mine = Stream([1 << 20], block=8192).share(0, 16, rank, world)
    part = Views((views.crops[0][:, mine],), views.indices[mine], views.labels[mine])
    outcome = objective(part, Progress(step=3))
    outcome.loss.backward()
    return outcome.loss.detach(), {k: p.grad for k, p in objective.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_have_the_loss_and_gradient_of_one(world: int) -> None:
    loss, gradients = share_of_step(0, 1)
    parts = on_processes(share_of_step, world)
    torch.testing.assert_close(torch.stack([part[0] for part in parts]).mean(), loss)
    for key, gradient in gradients.items():
        mean = torch.stack([part[1][key] for part in parts]).mean(0)
        torch.testing.assert_close(mean, gradient, atol=1e-12, rtol=1e-7)


def test_soft_targets_of_unmixed_samples_are_smoothed_one_hot_and_zero_where_nothing_is_known() -> None:
    found = soft_targets(torch.tensor([1, -1, 0]), None, 4, 0.2)
    torch.testing.assert_close(found, torch.tensor([[0.05, 0.85, 0.05, 0.05], [0] * 4, [0.85, 0.05, 0.05, 0.05]]))
    mixed = Mixed(torch.empty(0), torch.tensor([0.25, 1.0, 1.0]), torch.tensor([2, 1, 0]))
    assert soft_targets(torch.tensor([1, -1, 0]), mixed, 2, 0.0)[0].tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"mixup": -1.0}, "mixup is an alpha above 0, or 0 for none, not -1"), ({"probability": 1.5}, "probability must")],
)
def test_what_cannot_be_is_a_mistake_in_the_recipe(changes: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Mixing.Config(**changes)  # type: ignore[arg-type]
