"""A classifier on a test: counts and sums of every batch, which add up over batches and over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from data_shards.batch import Batch
from pipeline.errors import RunError
from pipeline.evaluation.classified.accuracy import Accuracy
from pipeline.evaluation.classified.calibration import Calibration
from pipeline.evaluation.features import Counter, tapped
from pipeline.evaluation.labels.asked_classes import AskedClasses
from pipeline.models.backbone import Backbone
from pipeline.models.taps import AVERAGE, taps


@dataclass(frozen=True)
class Measured:
    """What a test gave."""

    accuracy: Accuracy
    calibration: Calibration
    seen: int
    """Samples of the test, with those that cannot be decoded, have no label, or one that is not known."""
    unsound: int
    """Samples with a score that is no number."""
    real: tuple[int, int] = (0, 0)
    """By ReaL's labels: samples whose highest score is of a right class, and samples that have one."""

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor, seen: int, real: tuple[int, int] = (0, 0)) -> Measured:
        """From scores (N, classes) and labels (N), below 0 for what does not count, of `seen` samples."""
        unsound = int((~scores.isfinite().all(1)).sum())
        return cls(Accuracy.of(scores, labels), Calibration.of(scores, labels), seen, unsound, real)

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            self.accuracy + other.accuracy,
            self.calibration + other.calibration,
            self.seen + other.seen,
            self.unsound + other.unsound,
            (self.real[0] + other.real[0], self.real[1] + other.real[1]),
        )

    def summed(self, total: Callable[[Tensor], Tensor]) -> Measured:
        """Over all processes, in all of them; `total` sums a tensor over them, such as `Team.sum`. A collective."""
        accuracy, calibration = self.accuracy, self.calibration
        counts = torch.tensor([accuracy.in_top5, self.seen, self.unsound, *self.real])
        in_top5, seen, unsound, *real = total(counts).tolist()
        return Measured(
            Accuracy(total(accuracy.confusion), in_top5),
            Calibration(
                total(calibration.counts),
                total(calibration.right),
                total(calibration.confidence),
                float(total(torch.tensor(calibration.surprise, dtype=torch.float64))),
            ),
            seen,
            unsound,
            (real[0], real[1]),
        )

    def require_sound(self, where: str, cure: str) -> None:
        """Raise `RunError` with a `cure` where the network, which lies at `where`, gave scores that are no numbers."""
        if self.unsound:
            raise RunError(
                where, f"gives scores that are no numbers for {self.unsound:,} of {self.seen:,} images", cure
            )


def measure(
    backbone: Backbone,
    classifier: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    asked: AskedClasses,
    *,
    judge: Callable[[Tensor, Tensor], tuple[int, int]] | None = None,
    precision: torch.dtype = torch.float32,
    progress: Counter | None = None,
) -> Measured:
    """A classifier on the first crop of every sample; what the loader puts in the place of another does not count.

    `judge`, where there is one, is told which columns of the classifier have the highest scores (N), and of which
    samples (N), and gives how many are right and how many count.
    Only counts are kept: memory is that of one batch and of classes x classes, however many samples there are.
    """
    device = next(backbone.parameters()).device
    total = Measured.of(torch.empty(0, len(asked.names)), torch.empty(0, dtype=torch.int64), 0)
    for batch in tapped(backbone, batches, taps([AVERAGE]), precision=precision):
        with torch.no_grad():
            scores = classifier(batch.vectors[AVERAGE].to(device)).float().cpu()
        scores = scores[:, asked.columns]
        real = judge(asked.columns[scores.argmax(1)], batch.indices) if judge else (0, 0)
        total += Measured.of(scores, asked.labels(batch.labels), batch.seen, real)
        if progress:
            progress.update(batch.seen)
    return total
