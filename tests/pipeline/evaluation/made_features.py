"""Features that a test makes up, as a run of `features` would leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts import Artifact, digest
from pipeline.evaluation.feature_sets.columns import write

Split = tuple[Mapping[str, Tensor], Tensor]
"""Features (N, width) by tap, and labels (N)."""


def feature_set(out: Path, splits: Mapping[str, Split], classes: Sequence[str], rows: int = 100) -> Path:
    """A finished run of `features` with these splits, in files of so many rows."""
    known, facts = {}, {}
    for split, (vectors, labels) in splits.items():
        (out / split).mkdir(parents=True)
        parts = []
        for number, start in enumerate(range(0, len(labels), rows)):
            piece, name = slice(start, start + rows), f"{split}/part-{number:05d}.npz"
            columns = {
                "index": np.arange(start, start + len(labels[piece])),
                "label": labels[piece].numpy(),
                **{tap: values[piece].numpy().astype(np.float32) for tap, values in vectors.items()},
            }
            known[name] = write(out / name, columns)
            parts.append({"file": name, "rows": len(labels[piece])})
        facts[split] = {"samples": len(labels), "rows": len(labels), "left_out": 0, "parts": parts}
    widths = {tap: values.shape[1] for tap, values in next(iter(splits.values()))[0].items()}
    Artifact(
        stage="features",
        kind="features",
        fingerprint="made",
        content=digest(known),
        files=known,
        facts={"splits": facts, "taps": widths, "classes": list(classes)},
        path=out,
    ).save()
    return out


def clouds(samples: int, seed: int, classes: int = 5, width: int = 20, distance: float = 0.6) -> tuple[Tensor, Tensor]:
    """Overlapping clouds (samples, width), one a class, and their labels (samples)."""
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(7)) * distance
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (samples,), generator=draw)
    return centres[labels] + torch.randn(samples, width, generator=draw), labels
