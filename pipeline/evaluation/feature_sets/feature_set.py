"""The features that a run of `features` left, opened: by split and tap, whole or in chunks of bounded memory.

    features = FeatureSet(artifact)                          # or FeatureSet.at("runs/features", wanted_by="knn")
    for chunk in features.chunks("train", "res4 pool 2x1"):  # Features: vectors, labels, indices
        …
    features.keys("train")                                   # what the samples are called in the shards

A chunk is a file or a piece of one, so a split of any size can be passed over, again and again. Samples that could not
be decoded have no row; samples without a label have -1.
"""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts import Artifact
from pipeline.errors import ArtifactError
from pipeline.evaluation.feature_sets.columns import INDEX, KEY, LABEL, read
from pipeline.evaluation.features import Features


class FeatureSet:
    """Features on disk."""

    def __init__(self, artifact: Artifact) -> None:
        """Raises `ArtifactError` where files are missing or changed in size."""
        self.artifact = artifact
        self.taps: dict[str, int] = dict(artifact.facts["taps"])
        """Taps and the length of their vectors."""
        self.classes: tuple[str, ...] = tuple(artifact.facts["classes"])
        self._splits: dict[str, Any] = dict(artifact.facts["splits"])
        if damaged := artifact.damaged():
            raise ArtifactError(
                str(artifact.path / damaged[0]),
                "is missing or has changed",
                "run `features` again with the same settings: what is whole is kept",
                f"python -m pipeline features {artifact.path / 'config.yaml'}",
            )

    @classmethod
    def at(cls, directory: str | Path, *, wanted_by: str = "", key: str = "features") -> FeatureSet:
        """The features in a run directory. Raises `ArtifactError` with the cure if there are none."""
        return cls(Artifact.load(directory, "features", wanted_by=wanted_by, key=key))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that were extracted."""
        return tuple(self._splits)

    def rows(self, split: str) -> int:
        """Rows of a split: its samples that could be decoded."""
        return sum(self._counts(split))

    def labels(self, split: str) -> Tensor:
        """Class of each row (rows), int64, -1 where it has none."""
        found = np.concatenate([read(path, LABEL)[0] for path in self._paths(split)])
        return torch.from_numpy(found.astype(np.int64))

    def keys(self, split: str) -> list[str]:
        """Key in the shards of each row."""
        return [str(key) for path in self._paths(split) for key in read(path, KEY)[0]]

    def read(self, split: str, tap: str = "average", start: int = 0, stop: int | None = None) -> Features:
        """Rows [start, stop) of a split, in memory."""
        found = list(self.chunks(split, tap, start=start, stop=stop))
        if not found:
            empty = torch.empty(0, dtype=torch.int64)
            return Features(torch.empty(0, self.taps[tap]), empty, empty)
        return found[0] if len(found) == 1 else Features(*map(torch.cat, zip(*found, strict=True)))

    def chunks(
        self, split: str, tap: str = "average", *, rows: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[Features]:
        """Rows [start, stop) in order, a file at a time, or at most `rows` of one. Raises `ArtifactError`."""
        self.check(split, tap)
        counts, paths = self._counts(split), self._paths(split)
        firsts = np.cumsum([0, *counts]).tolist()
        stop = firsts[-1] if stop is None else min(stop, firsts[-1])
        for number in range(max(0, bisect_right(firsts, start) - 1), len(paths)):
            first = firsts[number]
            begin, end = max(start - first, 0), min(stop - first, counts[number])
            if begin >= end:
                continue
            vectors, labels, indices = (array[begin:end] for array in read(paths[number], tap, LABEL, INDEX))
            step = rows or end - begin
            for at in range(0, end - begin, step):
                piece = slice(at, at + step)
                yield Features(
                    torch.from_numpy(vectors[piece].astype(np.float32)),
                    torch.from_numpy(labels[piece].astype(np.int64)),
                    torch.from_numpy(indices[piece].astype(np.int64)),
                )

    def check(self, split: str, *taps: str) -> None:
        """Raise `ArtifactError` for a split or a tap that was not extracted."""
        for kind, wanted, there in (("split", [split], self.splits), ("tap", taps, tuple(self.taps))):
            for name in wanted:
                if name not in there:
                    near = difflib.get_close_matches(name, there, 1)
                    raise ArtifactError(
                        str(self.artifact.path),
                        f"holds no features of {kind} {name!r}",
                        f"did you mean {near[0]!r}?" if near else f"it has {', '.join(there)}",
                    )

    def check_labels(self, stage: str) -> None:
        """Raise `ArtifactError` where the samples had no classes."""
        if not self.classes:
            raise ArtifactError(
                str(self.artifact.path),
                "has no labels",
                f"{stage} needs a class per sample; shard a folder with one sub-folder per class",
            )

    def _of(self, split: str) -> Any:
        self.check(split)
        return self._splits[split]

    def _counts(self, split: str) -> Sequence[int]:
        return [int(part["rows"]) for part in self._of(split)["parts"]]

    def _paths(self, split: str) -> list[Path]:
        return [self.artifact.path / part["file"] for part in self._of(split)["parts"]]
