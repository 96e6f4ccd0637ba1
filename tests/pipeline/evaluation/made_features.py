"""Features that a test makes up, as a run of `features` would leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.evaluation.features import Features
from tests.pipeline.evaluation.extracted import features

Split = tuple[Mapping[str, Tensor], Tensor]
"""Features (N, width) by tap, and labels (N)."""


def feature_set(out: Path, splits: Mapping[str, Split], classes: Sequence[str], rows: int = 100) -> Path:
    """A finished run of `features` with these splits, in files of so many rows."""
    found = {
        split: {tap: Features(values.float(), labels, torch.arange(len(labels))) for tap, values in vectors.items()}
        for split, (vectors, labels) in splits.items()
    }
    return features(out, found, classes, rows)


def clouds(samples: int, seed: int, classes: int = 5, width: int = 20, distance: float = 0.6) -> tuple[Tensor, Tensor]:
    """Overlapping clouds (samples, width), one a class, and their labels (samples)."""
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(7)) * distance
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (samples,), generator=draw)
    return centres[labels] + torch.randn(samples, width, generator=draw), labels
