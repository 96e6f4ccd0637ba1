"""Which head of a grid is chosen, by what it gets right of samples held out; and the grid as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.evaluation.classified.accuracy import Accuracy
from pipeline.evaluation.heads.grid import Head
from pipeline.evaluation.intervals import wilson
from pipeline.evaluation.labels import splits
from pipeline.results import Chart, Table, interval, share


@dataclass(frozen=True)
class Choice:
    """The heads of a grid with their right answers; the test samples have no say."""

    heads: Sequence[Head]
    held_out: Tensor
    """Right answers of each head among the samples held out (heads)."""
    test: Tensor
    """Right answers of each head among the test samples (heads)."""
    held_out_samples: int
    test_samples: int

    @property
    def place(self) -> int:
        """Of the head that is right most often; of several the first."""
        return best(self.held_out)

    @property
    def head(self) -> Head:
        """The chosen head."""
        return self.heads[self.place]

    @property
    def accuracy(self) -> float:
        """Of the chosen head, on the samples held out."""
        return self._shares(self.held_out, self.held_out_samples)[self.place]

    def tables(self, accuracy: Accuracy, how: str) -> list[Table]:
        """What the chosen head reaches on the test samples, and the grid. `how` says what it was trained on."""
        sure = interval(*wilson(accuracy.right, accuracy.samples))
        shares = [share(accuracy.top1), sure, share(accuracy.top5)]
        note = f"{self.head}: best on {self.held_out_samples:,} samples held out, {how}."
        heads = ("", "top-1", "95 % interval", "top-5", "samples")
        probe = Table(title="Linear probe", heads=heads, rows=[["test", *shares, f"{accuracy.samples:,}"]], note=note)
        return [probe, self.table()]

    def doubt(self) -> str:
        """A sentence where the best rate lies at the edge of those tried, as a better one may lie beyond; or ""."""
        rates = sorted({head.rate for head in self.heads})
        if len(rates) < 2 or self.head.rate not in (rates[0], rates[-1]):
            return ""
        edge, more = ("least", "smaller") if self.head.rate == rates[0] else ("greatest", "larger")
        return f"The best rate is the {edge} of those tried: try {more} ones."

    def table(self) -> Table:
        """A row for each tap, with and without BatchNorm: its best rate, and what that gives."""
        held, test = (
            self._shares(right, samples)
            for right, samples in ((self.held_out, self.held_out_samples), (self.test, self.test_samples))
        )
        rows = []
        for places in self._stacks().values():
            place = places[best(self.held_out[places])]
            head = self.heads[place]
            norm = "with" if head.batch_norm else "without"
            rows.append([head.tap, norm, f"{head.rate:g}", *(share(found[place]) for found in (held, test))])
        note = f"Trained without what was held out. {self.doubt()}".strip()
        heads = ("tap", "BatchNorm", "rate", "held out", "test")
        return Table(title="Best rate of each tap", heads=heads, rows=rows, note=note)

    def chart(self) -> Chart:
        """Accuracy on what was held out over the rate, a line for each tap with and without BatchNorm."""
        held = self._shares(self.held_out, self.held_out_samples)
        return Chart(
            title="Accuracy on samples held out",
            series=[
                (name, sorted((self.heads[place].rate, round(held[place], 4)) for place in places))
                for name, places in self._stacks().items()
            ],
            along="learning rate per 256 images",
            percent=True,
            logarithmic=True,
        )

    def to_mapping(self) -> dict[str, Any]:
        """The chosen head and the whole grid, for a file."""
        held = self._shares(self.held_out, self.held_out_samples)
        test = self._shares(self.test, self.test_samples)
        return {
            "head": self.head._asdict(),
            "held_out": {"accuracy": round(self.accuracy, 4), "samples": self.held_out_samples},
            "grid": [
                {**head._asdict(), "held_out": round(a, 4), "test": round(b, 4)}
                for head, a, b in zip(self.heads, held, test, strict=True)
            ],
        }

    def _stacks(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for place, head in enumerate(self.heads):
            found.setdefault(f"{head.tap}{', BatchNorm' if head.batch_norm else ''}", []).append(place)
        return found

    def _shares(self, right: Tensor, samples: int) -> list[float]:
        shares: list[float] = (right.double() / max(1, samples)).tolist()
        return shares


def best(right: Tensor) -> int:
    """The place of the most right answers (heads); of several the first."""
    return int((right == right.max()).nonzero()[0])


def dealt(labels: Tensor, share: float, seed: int, where: str) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, in order: all that have a label, those to train on, and those held out, about `share` of each class.

    Of each class at least one is to train on. Raises `ArtifactError` naming `where` the labels are, if none is left to
    be held out.
    """
    everyone = (labels >= 0).nonzero().squeeze(1)
    kept = torch.from_numpy(splits.balanced(labels.numpy(), 1 - share, seed))
    asked = everyone[torch.isin(everyone, kept, invert=True)]
    if not len(asked):
        raise ArtifactError(
            where,
            f"has {len(everyone)} labels to learn from, too few to hold {share:g} of each class out",
            "set held_out to a larger share, or label more",
        )
    return everyone, kept, asked
