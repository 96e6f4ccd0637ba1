"""Whether a classifier is as often right as it says: its confidence against its accuracy, and its likelihood.

A sample's confidence is the softmax of its highest score. Samples are put into bins of equal width by it; in each the
mean confidence is compared with the share that is right (Guo et al. 2017, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 15
"""As Guo et al. have it; published errors are of that many."""


@dataclass(frozen=True)
class Calibration:
    """Sums of a test, which add up over batches and processes."""

    counts: Tensor
    """Samples of each bin (bins), int64."""
    right: Tensor
    """Samples of each bin whose class has the highest score (bins), int64."""
    confidence: Tensor
    """Sum of the confidences of each bin (bins), fp64."""
    surprise: float
    """Sum of -ln of the probability given to the true class."""

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor, bins: int = BINS) -> Calibration:
        """From scores (N, classes) and labels (N); a label below 0 does not count."""
        known = labels >= 0
        labels, logarithms = labels[known], F.log_softmax(scores[known].double(), dim=1)
        best, chosen = logarithms.max(1)
        confidence = best.exp()
        # A bin holds its upper end and not its lower one.
        places = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
        return cls(
            torch.bincount(places, minlength=bins),
            torch.bincount(places[chosen == labels], minlength=bins),
            torch.zeros(bins, dtype=torch.float64).index_add_(0, places, confidence),
            float(-logarithms.gather(1, labels[:, None]).sum()),
        )

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(
            self.counts + other.counts,
            self.right + other.right,
            self.confidence + other.confidence,
            self.surprise + other.surprise,
        )

    @property
    def samples(self) -> int:
        """Labelled samples."""
        return int(self.counts.sum())

    @property
    def error(self) -> float:
        """Expected calibration error: the mean over samples of how far a bin's confidence is from its accuracy."""
        return float((self.confidence - self.right).abs().sum()) / max(1, self.samples)

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy: above 0 where the network believes too much of itself."""
        return float(self.confidence.sum() - self.right.sum()) / max(1, self.samples)

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of the true class, in nats."""
        return self.surprise / max(1, self.samples)

    def reliability(self) -> list[tuple[float, float]]:
        """(mean confidence, accuracy) of each bin that has samples, by rising confidence."""
        filled = self.counts > 0
        counts = self.counts[filled]
        return list(
            zip((self.confidence[filled] / counts).tolist(), (self.right[filled] / counts).tolist(), strict=True)
        )
