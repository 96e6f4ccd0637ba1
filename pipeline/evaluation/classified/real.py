"""ImageNet-ReaL (Beyer et al. 2020): several right classes an image of ImageNet's validation set, none for some.

The published file is a JSON list whose n-th entry, counted from 1, holds the classes of ILSVRC2012_val_n, as numbers of
a classifier's columns. An image without a class does not count.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pipeline.errors import ArtifactError

_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})")


@dataclass(frozen=True)
class Real:
    """The right classes of every image of the validation set."""

    where: str
    """The file, for messages."""
    classes: tuple[frozenset[int], ...]
    """Of each image, in their order."""

    @classmethod
    def read(cls, path: str, known: int) -> Real:
        """From the published file, for a classifier of so many classes. Raises `ArtifactError` if it is another one."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            classes = tuple(frozenset(int(number) for number in entry) for entry in found)
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactError(
                path, f"is no list of classes an image ({error})", "name ImageNet-ReaL's real.json"
            ) from None
        most = max((number for entry in classes for number in entry), default=-1)
        if most >= known:
            raise ArtifactError(
                path,
                f"speaks of class {most}, and the checkpoint has {known}",
                "ReaL is for classifiers of ImageNet-1k",
            )
        return cls(path, classes)

    def of(self, key: str) -> frozenset[int]:
        """The right classes of the sample with this key. Raises `ArtifactError` if it is none of the validation set."""
        found = _IMAGE.search(key)
        number = int(found[1]) if found else 0
        if not 1 <= number <= len(self.classes):
            raise ArtifactError(
                self.where,
                f"has no labels for sample {key}",
                f"it has those of ILSVRC2012_val_00000001 to {len(self.classes):08d}: name the split they are in",
            )
        return self.classes[number - 1]

    def judge(self, chosen: Tensor, keys: list[str]) -> tuple[int, int]:
        """How many samples the columns `chosen` (N) are right for, and how many count, from their keys."""
        right = [self.of(key) for key in keys]
        hits = sum(int(column) in classes for column, classes in zip(chosen.tolist(), right, strict=True))
        return hits, sum(map(bool, right))
