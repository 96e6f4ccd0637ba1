"""Queries of a feature set, dealt to the processes in whole blocks and taken into memory a bounded number at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.evaluation.compute import Team
from pipeline.evaluation.feature_sets.feature_set import FeatureSet
from pipeline.evaluation.features import Features
from pipeline.evaluation.search.neighbours import BLOCK

BYTES = 1 << 30
"""Of queries that a process holds; the bank is passed over once for so many."""


def rounds(
    features: FeatureSet, split: str, tap: str, team: Team, rows: Tensor | None = None, beside: int = 0
) -> Iterator[Features]:
    """This process's share of a split's rows, or of those numbered `rows` (rising), a bounded number at once.

    `beside` is what is kept for each query beside its vector, in bytes.
    """
    places = torch.arange(features.rows(split)) if rows is None else rows
    share = team.share(len(places), BLOCK)
    step = max(1, BYTES // (4 * features.taps[tap] + beside) // BLOCK) * BLOCK
    for start in range(share.start, share.stop, step):
        yield _at(features, split, tap, places[start : min(start + step, share.stop)])


def _at(features: FeatureSet, split: str, tap: str, places: Tensor) -> Features:
    first, last = int(places[0]), int(places[-1]) + 1
    if last - first == len(places):
        return features.read(split, tap, first, last)
    found, passed = [], first
    for chunk in features.chunks(split, tap, start=first, stop=last):
        mine = places[(places >= passed) & (places < passed + len(chunk.labels))] - passed
        passed += len(chunk.labels)
        found.append(Features(*(part[mine] for part in chunk)))
    return Features(*map(torch.cat, zip(*found, strict=True)))


def bank(features: FeatureSet, split: str, tap: str) -> Iterator[Features]:
    """The labelled rows of a split, a file at a time."""
    return (chunk.labelled() for chunk in features.chunks(split, tap))
