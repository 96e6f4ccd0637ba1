"""Whether the classes that are learnt, tested and known already are the same ones; said before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_shards.stream import ShardSet
from pipeline.errors import ArtifactError

_SHOWN = 3
"""Names in a sentence."""


def check(train: ShardSet, learnt: NDArray[np.int64], test: ShardSet) -> list[str]:
    """What is doubtful about the classes of labels (n) to be learnt and of a test split, a sentence each.

    Raises `ArtifactError` where the test asks for a class of which there is nothing to learn from.
    """
    names = max(train.classes, test.classes, key=len)
    taught, asked = (np.bincount(labels[labels >= 0], minlength=len(names)) for labels in (learnt, test.labels()))
    if not asked.any():
        raise ArtifactError(test.where, f"has no label in split {test.split}", "name a split with labels: test=SPLIT")
    unknown = np.flatnonzero((taught == 0) & (asked > 0))
    if len(unknown):
        raise ArtifactError(
            train.where,
            f"split {test.split} has {int(asked[unknown].sum())} images of {_some(names, unknown)}, of which there is "
            f"no label to learn from in split {train.split}",
            "both splits need the same classes; give every class an image, or take a folder without it",
        )
    doubts = []
    if len(empty := np.flatnonzero((taught == 0) & (asked == 0))):
        doubts.append(f"{_some(names, empty)} has no image at all; the network will never choose it")
    if len(untested := np.flatnonzero((taught > 0) & (asked == 0))):
        doubts.append(f"{_some(names, untested)} has no image in split {test.split}, so its accuracy stays unknown")
    return doubts


def rows_of(wanted: Sequence[str], known: Sequence[str], where: str) -> tuple[int, ...]:
    """For each class that is wanted, the row of a classifier that knows such classes, by their names.

    Raises `ArtifactError` where it does not know them all, or a name is that of two classes.
    """
    if list(wanted) == list(known):
        return tuple(range(len(known)))
    right = "set classifier=new, or name the classes as the checkpoint does"
    if not known:
        raise ArtifactError(where, "has no classifier", right)
    place = {name: row for row, name in enumerate(known)}
    strange = [index for index, name in enumerate(wanted) if name not in place]
    if strange:
        raise ArtifactError(where, f"does not know {_some(wanted, strange)} among its {len(known)} classes", right)
    twice = [index for index, name in enumerate(wanted) if known.count(name) > 1]
    if twice:
        raise ArtifactError(where, f"has {_some(wanted, twice)} more than once", right)
    return tuple(place[name] for name in wanted)


def _some(names: Sequence[str], chosen: Sequence[int] | NDArray[np.int64]) -> str:
    shown = ", ".join(names[index] for index in chosen[:_SHOWN])
    return f"class {shown}" if len(chosen) <= _SHOWN else f"class {shown} and {len(chosen) - _SHOWN} more"
