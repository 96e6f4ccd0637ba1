"""How often a classifier is right: top-1, top-5, each class, and which classes it takes for which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Accuracy:
    """Counts of a test."""

    confusion: Tensor
    """Samples of class i that were taken for class j (classes, classes), int64."""
    in_top5: int
    """Samples whose class is among the five highest scores."""

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor) -> Accuracy:
        """From scores (N, classes) and labels (N); a label below 0 does not count."""
        classes = scores.shape[1]
        scores, labels = scores[labels >= 0], labels[labels >= 0]
        ranked = scores.topk(min(5, classes), dim=1).indices
        places = labels * classes + ranked[:, 0]
        confusion = torch.bincount(places, minlength=classes * classes).view(classes, classes)
        return cls(confusion, int((ranked == labels.unsqueeze(1)).any(1).sum()))

    def __add__(self, other: Accuracy) -> Accuracy:
        return Accuracy(self.confusion + other.confusion, self.in_top5 + other.in_top5)

    @property
    def samples(self) -> int:
        """Labelled samples."""
        return int(self.confusion.sum())

    @property
    def right(self) -> int:
        """Samples whose class has the highest score."""
        return int(self.confusion.diagonal().sum())

    @property
    def top1(self) -> float:
        """Share whose class has the highest score."""
        return self.right / max(1, self.samples)

    @property
    def top5(self) -> float:
        """Share whose class is among the five highest scores."""
        return self.in_top5 / max(1, self.samples)

    @property
    def per_class(self) -> Tensor:
        """Share of each class that is told right (classes), NaN where there is no sample of it."""
        return self.confusion.diagonal() / self.confusion.sum(1)

    @property
    def balanced(self) -> float:
        """Mean over the classes that have samples of the share told right: each class counts alike."""
        return float(self.per_class.double().nanmean()) if self.samples else 0.0

    def confused(self, pairs: int = 10) -> list[tuple[int, int, int]]:
        """(class, class it was taken for, samples) of the pairs most often confused, the most frequent first."""
        mistakes = self.confusion - torch.diag(self.confusion.diagonal())
        counts, places = mistakes.flatten().topk(min(pairs, mistakes.numel()))
        classes = len(self.confusion)
        found = zip(places.tolist(), counts.tolist(), strict=True)
        return [(place // classes, place % classes, count) for place, count in found if count]

    def to_mapping(self, classes: Sequence[str], pairs: int = 10) -> dict[str, Any]:
        """Figures for a file: overall, per class that has samples, and the pairs most often confused."""
        shares = zip(classes, self.per_class.tolist(), strict=True)
        return {
            "accuracy": self.top1,
            "accuracy_top5": self.top5,
            "samples": self.samples,
            "per_class": {name: round(share, 4) for name, share in shares if not math.isnan(share)},
            "confused": [
                {"is": classes[is_], "taken_for": classes[taken], "samples": count}
                for is_, taken, count in self.confused(pairs)
            ],
        }
