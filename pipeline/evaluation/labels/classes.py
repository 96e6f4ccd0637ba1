"""Whether the classes that are learnt, tested and known already are the same ones; said before anything is trained.

check(...)      learnt against tested: what cannot be is an error, what is doubtful a sentence
columns(...)    named here against known to a checkpoint: the one way in which names are matched
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError

_SHOWN = 3
"""Names in a sentence."""


def check(
    names: Sequence[str],
    learnt: NDArray[np.int64],
    asked: NDArray[np.int64],
    where: str,
    *,
    train: str = "train",
    test: str = "test",
    refuse: bool = True,
) -> list[str]:
    """What is doubtful about labels (n) to be learnt and labels (m) of a test, numbers of `names`, a sentence each.

    A label below 0 is none. `where` they lie and the splits `train` and `test` are for messages. Raises `ArtifactError`
    where the test has no label at all, and where it asks for a class of which there is nothing to learn from; the
    second is a doubt too where nothing is `refuse`d.
    """
    # Tars without a manifest have as many classes as their labels go, and another split may go further.
    count = max(len(names), *(int(labels.max(initial=-1)) + 1 for labels in (learnt, asked)))
    names = [*names, *map(str, range(len(names), count))]
    taught, tested = (np.bincount(labels[labels >= 0], minlength=count) for labels in (learnt, asked))
    for split, counts in ((train, taught), (test, tested)):
        if not counts.any():
            raise ArtifactError(where, f"has no labelled sample in split {split}", "name a split with labels")
    doubts = []
    if len(unknown := np.flatnonzero((taught == 0) & (tested > 0))):
        images, which = int(tested[unknown].sum()), _classes(names, unknown)
        if refuse:
            raise ArtifactError(
                where,
                f"split {test} has {images} images of {which}, of which there is no label to learn from in split "
                f"{train}",
                "both splits need the same classes; give every class an image, or take a folder without it",
            )
        doubts.append(f"{which} has no label in split {train}, so its {images} images of split {test} count as wrong")
    if len(empty := np.flatnonzero((taught == 0) & (tested == 0))):
        doubts.append(f"{_classes(names, empty)} has no image at all and is never chosen")
    if len(untested := np.flatnonzero((taught > 0) & (tested == 0))):
        doubts.append(f"{_classes(names, untested)} has no image in split {test}, so its accuracy stays unknown")
    return doubts


def columns(wanted: Sequence[str], known: Sequence[str], where: str) -> list[int]:
    """For each class that is wanted `where`, its place among those a checkpoint knows, by its name; -1 for none.

    Raises `ArtifactError` where a name is that of several classes of the checkpoint; equal lists are one class by one.
    """
    if list(wanted) == list(known):
        return list(range(len(known)))
    times = Counter(known)
    if twice := [name for name in wanted if times[name] > 1]:
        raise ArtifactError(
            where,
            f"asks for {some(twice)}, and the checkpoint has several classes of that name",
            "rename its classes",
        )
    place = {name: number for number, name in enumerate(known)}
    return [place.get(name, -1) for name in wanted]


def require_all(wanted: Sequence[str], found: Sequence[int], where: str, cure: str) -> None:
    """Raise `ArtifactError` with a `cure` where one of the `columns` that were found is none."""
    if unknown := [name for name, column in zip(wanted, found, strict=True) if column < 0]:
        raise ArtifactError(
            where,
            f"has {len(unknown)} of {len(wanted)} classes that the checkpoint does not know: {some(unknown)}",
            cure,
        )


def rows_of(wanted: Sequence[str], known: Sequence[str], where: str, checkpoint: str) -> tuple[int, ...]:
    """For each class that is wanted `where`, the row of the classifier of a `checkpoint` that knows such classes.

    Raises `ArtifactError` where it has no classifier or does not know them all.
    """
    cure = "set classifier=new, or name the classes as the checkpoint does"
    if not known:
        raise ArtifactError(checkpoint, "has no classifier", cure)
    rows = columns(wanted, known, where)
    require_all(wanted, rows, where, cure)
    return tuple(rows)


def some(names: Sequence[str]) -> str:
    """Names for a sentence: the first of them, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _classes(names: Sequence[str], chosen: NDArray[np.int64]) -> str:
    return f"class {some([names[index] for index in chosen])}"
