"""Mixup and CutMix: pictures and labels of two samples into one (Zhang et al. 2018; Yun et al. 2019).

    mixup     x = share * own + (1 - share) * partner                     share from Beta(alpha, alpha)
    cutmix    a box of the partner in place of one's own; the share is what is left of one's own area

Every sample has a share and a box of its own, as in timm's mode `elem`, on the device that has the pictures. They are a
function of (seed, step, index of the sample, view), so they are the same on any number of processes.

The partner is a sample of the same process, half of its samples away, or the next one where the loader gives each
process a range of the batch and does not deal samples in turn (`dealt`). So it is the same sample on any number of
processes that divides the lanes of the loader's order, or, for small sets with one lane, on any number whose shares are
even. Elsewhere, and in a batch that spans two epochs, another number of processes pairs other samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.objectives import keyed


class Mixed(NamedTuple):
    """Pictures that were mixed, and of what."""

    images: Tensor
    """(N, 3, S, S)"""
    share: Tensor
    """Of each picture, what is its own (N), fp32."""
    partner: Tensor
    """The row that the rest is from (N)."""


class Mixing:
    """Mixes the pictures of a batch."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        mixup: float = 0.0
        """Alpha of mixup: shares are from Beta(alpha, alpha), so a larger one blends more evenly. 0 for none."""
        cutmix: float = 0.0
        """Alpha of CutMix; 0 for none."""
        probability: float = 1.0
        """Probability that a sample is mixed at all."""
        switch: float = 0.5
        """Probability that a sample gets CutMix, where there are both."""

        def __post_init__(self) -> None:
            for name in ("mixup", "cutmix"):
                if not 0 <= getattr(self, name) < float("inf"):
                    raise ValueError(f"{name} is an alpha above 0, or 0 for none, not {getattr(self, name):g}")
            for name in ("probability", "switch"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name):g}")

        @property
        def is_on(self) -> bool:
            """Whether anything is mixed."""
            return (self.mixup > 0 or self.cutmix > 0) and self.probability > 0

        def build(self, seed: int, *, dealt: bool = False) -> Mixing:
            return Mixing(self, seed, dealt)

    def __init__(self, config: Config, seed: int, dealt: bool) -> None:
        self.config, self.seed, self.dealt = config, seed, dealt

    @torch.no_grad()
    def __call__(self, images: Tensor, indices: Tensor, step: int, may: Tensor) -> Mixed:
        """Mix images (views * batch, 3, S, S) of samples with these indices (batch).

        `may` says which rows (views * batch) may be mixed; a row is left as it is where it or its partner may not.
        """
        views = len(images) // max(1, len(indices))
        partner = partners(len(indices), self.dealt, images.device)
        partner = torch.cat([partner + view * len(indices) for view in range(views)])
        share, boxes = self.draw(indices, step, views, images.shape[-1])
        mixed = may & may[partner]
        # Rounded as the pictures are, so that labels say what was done.
        share = torch.where(mixed, share, 1.0).to(images.dtype)
        inside = _inside(boxes, images.shape[-1])
        weight = torch.where(inside, 0.0, torch.where(boxes[:, 1] > boxes[:, 0], 1.0, share)[:, None, None])
        weight = torch.where(mixed[:, None, None], weight, 1.0).to(images.dtype)
        return Mixed(torch.lerp(images[partner], images, weight.unsqueeze(1)), share.float(), partner)

    def draw(self, indices: Tensor, step: int, views: int, size: int) -> tuple[Tensor, Tensor]:
        """Shares (views * batch, fp64), and boxes (views * batch, 4) of the partner: top, bottom, left, right.

        A box is empty where pictures are blended, or not mixed.
        """
        config = self.config
        keys = torch.cat([keyed.keys(indices, self.seed, step, view) for view in range(views)])
        chance, kind, *centre = keyed.uniform(keys, 0, 4).unbind(1)
        both = config.mixup > 0 and config.cutmix > 0
        cuts = kind < (config.switch if both else float(config.cutmix > 0))
        alpha = torch.where(cuts, config.cutmix, config.mixup).double()
        share = keyed.beta(keys, 4, alpha)
        share = torch.where(chance < config.probability, share, 1.0)
        boxes = box(torch.where(cuts, share, 1.0), torch.stack(centre, 1), size)
        top, bottom, left, right = boxes.unbind(1)
        return torch.where(cuts, 1 - (bottom - top) * (right - left) / size**2, share), boxes


def partners(count: int, dealt: bool, device: torch.device | None = None) -> Tensor:
    """The row that each of `count` rows is mixed with."""
    rows = torch.arange(count, device=device)
    return rows.roll(count // 2) if dealt else (rows ^ 1) % max(1, count)


def box(share: Tensor, centre: Tensor, size: int) -> Tensor:
    """Boxes (N, 4: top, bottom, left, right) with a side of sqrt(1 - share), cut off at the edges of the picture.

    Their centres are uniform: `centre` (N, 2) holds numbers from 0 to 1 (Yun et al. 2019, section 3.2, as timm has it).
    """
    side = (size * (1 - share).sqrt()).long().unsqueeze(1)
    middle = (centre * size).long()
    low, high = (middle - side // 2).clamp(0, size), (middle + (side + 1) // 2).clamp(0, size)
    return torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1)


def soft_targets(labels: Tensor, mixed: Mixed | None, classes: int, smoothing: float) -> Tensor:
    """What the prediction for each row is to be (N, classes), fp32, given its class (N); 0 throughout for class -1.

    `smoothing` of it is spread over all classes (Szegedy et al. 2016).
    """
    known = labels >= 0
    share = torch.ones_like(labels, dtype=torch.float32) if mixed is None else mixed.share
    targets = share.new_zeros(len(labels), classes)
    targets.scatter_(1, labels.clamp_min(0).unsqueeze(1), share.unsqueeze(1))
    if mixed is not None:
        other = labels[mixed.partner].clamp_min(0)
        targets.scatter_add_(1, other.unsqueeze(1), (1 - share).unsqueeze(1))
    return (targets * (1 - smoothing) + smoothing / classes) * known.unsqueeze(1)


def _inside(boxes: Tensor, size: int) -> Tensor:
    """Which pixels lie in the box of each row (N, S, S)."""
    places = torch.arange(size, device=boxes.device)
    top, bottom, left, right = boxes.unsqueeze(-1).unbind(1)
    down = (places >= top) & (places < bottom)
    across = (places >= left) & (places < right)
    return down.unsqueeze(2) & across.unsqueeze(1)
