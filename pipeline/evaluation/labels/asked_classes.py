"""Which classes of a classifier a test asks about, where the test has classes of its own.

Robustness sets have ImageNet's folders, but not all of them: ImageNet-A and -R hold 200 classes, and published figures
let the network choose among these alone. So classes are matched by name. ImageNet-V2's folders are numbers, as are the
classes of tars without a manifest: those count through the classifier's classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.evaluation.labels.classes import columns, require_all, some

Among: TypeAlias = Literal["test", "all"]
"""What the network chooses among: the classes of the test, or all that it knows."""
Strangers: TypeAlias = Literal["refuse", "leave_out"]
"""What to do about classes of the test that the network does not know."""


@dataclass(frozen=True)
class AskedClasses:
    """The classes that are chosen among, and where the test's own lie there."""

    names: tuple[str, ...]
    """As the classifier calls them."""
    columns: Tensor
    """Their columns in its scores, int64, rising."""
    places: Tensor
    """For each class of the test its place in `names`, -1 where the classifier does not know it, int64."""

    @classmethod
    def of(
        cls,
        test: Sequence[str],
        known: Sequence[str],
        *,
        among: Among = "test",
        strangers: Strangers = "refuse",
        where: str,
    ) -> AskedClasses:
        """Match the classes of a test, which lies at `where`, with those a classifier knows.

        Raises `ArtifactError` where none is known, where one is not and `strangers` are refused, and where two have
        the same name.
        """
        found = _columns(test, known, where)
        if max(found, default=-1) < 0:
            raise ArtifactError(
                where,
                f"has no class that the checkpoint knows: it has {some(test)}, the checkpoint {some(known)}",
                "its folders must be called as the checkpoint's classes are, or be numbers that count through them",
            )
        if strangers == "refuse":
            require_all(test, found, where, "strangers=leave_out leaves their images out")
        asked = sorted(column for column in found if column >= 0) if among == "test" else list(range(len(known)))
        place = {column: number for number, column in enumerate(asked)}
        return cls(
            tuple(known[column] for column in asked),
            torch.tensor(asked),
            torch.tensor([place.get(column, -1) for column in found]),
        )

    def labels(self, labels: Tensor) -> Tensor:
        """Places in `names` of the test's labels (N); -1 for what has no label or a class that is not known."""
        return torch.where(labels < 0, -1, self.places[labels.clamp_min(0)])


def _columns(test: Sequence[str], known: Sequence[str], where: str) -> list[int]:
    """The classifier's column of each class of the test, -1 for none."""
    if not set(test) & set(known) and all(name.isdecimal() and int(name) < len(known) for name in test):
        return [int(name) for name in test]
    return columns(test, known, where)
