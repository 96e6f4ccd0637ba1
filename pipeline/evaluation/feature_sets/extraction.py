"""Features of a whole split, into files of bounded size: by one process or many, going on where a killed run stopped.

A split is cut into parts, ranges of its samples, in a way that depends on no number of processes. A process takes a
contiguous run of parts; of these it makes those that are not there yet, or not as they were written. Beside each file
stands a JSON with its hash, the samples that could not be decoded, and sums from which the content of all parts
follows however they were cut (`checkpoints/content.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_shards.batch import Transform
from data_shards.ledger import BadSample, Ledger
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.artifacts import write_atomically
from pipeline.checkpoints.content import MODULUS, root
from pipeline.checkpoints.rows import sum_of_rows
from pipeline.checkpoints.tensors import bytes_of
from pipeline.errors import RunError
from pipeline.evaluation.compute import Compute
from pipeline.evaluation.feature_sets.columns import INDEX, KEY, LABEL, Format, write
from pipeline.evaluation.features import Counter, tapped
from pipeline.models.backbone import Backbone
from pipeline.models.taps import Tap

BYTES = 256 << 20
"""A part holds at most so much, unless a single batch is more."""


@dataclass(frozen=True)
class Part:
    """Samples [start, stop) of a split, and the file of their features."""

    path: Path
    start: int
    stop: int

    @property
    def beside(self) -> Path:
        """The JSON beside it."""
        return self.path.with_suffix(".json")

    def facts(self) -> dict[str, Any] | None:
        """What was written down with it, where its file is as it was written; else None."""
        try:
            found: dict[str, Any] = json.loads(self.beside.read_text(encoding="utf-8"))
            if (found["start"], found["stop"]) != (self.start, self.stop):
                return None
            with self.path.open("rb") as file:
                intact = hashlib.file_digest(file, "sha256").hexdigest() == found["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if intact else None


def parts(folder: Path, samples: int, each: int, form: Format) -> list[Part]:
    """A split of so many samples as parts of `each`, the last one shorter."""
    starts = range(0, samples, each)
    of = len(starts)
    return [
        Part(folder / f"part-{n:05d}-of-{of:05d}.{form}", start, min(start + each, samples))
        for n, start in enumerate(starts)
    ]


def rows_of_part(asked: int, batch: int, row_bytes: int) -> int:
    """Samples of a part: about `asked`, whole batches, no more than `BYTES`. So each batch is of one part."""
    return max(1, min(asked, BYTES // row_bytes) // batch) * batch


class Extraction:
    """Makes the parts of one split."""

    def __init__(
        self,
        backbone: Backbone,
        shard_set: ShardSet,
        transform: Transform,
        wanted: Mapping[Tap, int],
        *,
        compute: Compute,
        dtype: type[np.floating[Any]],
        max_bad: float,
        progress: Counter,
    ) -> None:
        self.backbone, self.shard_set, self.transform, self.wanted = backbone, shard_set, transform, wanted
        self.compute, self.dtype, self.max_bad, self.progress = compute, dtype, max_bad, progress

    def make(self, missing: Sequence[Part]) -> None:
        """Compute and write these parts, in order."""
        if not missing:
            return
        indices = np.concatenate([np.arange(part.start, part.stop) for part in missing])
        ledger = _Noted(indices, self.max_bad)
        with Loader(
            self.shard_set,
            self.transform,
            batch=self.compute.batch,
            threads=self.compute.threads,
            shuffle=False,
            subset=indices,
            ledger=ledger,
        ) as loader:
            batches = tapped(self.backbone, loader, list(self.wanted), precision=self.compute.dtype)
            for part in missing:
                rows = Rows(part, self.wanted, self.dtype)
                while not rows.full:
                    batch = next(batches)
                    rows.add(batch.vectors, batch.labels, batch.indices, batch.seen)
                    self.progress.update(batch.seen)
                self._write(rows, [sample for sample in ledger.noted if part.start <= sample.position < part.stop])

    def _write(self, rows: Rows, bad: Iterable[BadSample]) -> None:
        part, there = rows.part, rows.indices >= 0
        unsound = [name for name, values in rows.vectors.items() if not np.isfinite(values).all()]
        if unsound:
            raise RunError(
                str(part.path),
                f"{', '.join(unsound)} holds values that are no numbers, or too large for {np.dtype(self.dtype).name}",
                "use dtype=fp32, and a checkpoint whose training went well",
            )
        columns = {
            INDEX: rows.indices[there],
            LABEL: rows.labels[there],
            KEY: np.array(self.shard_set.keys_at(rows.indices[there]), np.str_),
            **{name: values[there] for name, values in rows.vectors.items()},
        }
        part.path.parent.mkdir(parents=True, exist_ok=True)
        facts = {
            "start": part.start,
            "stop": part.stop,
            "rows": int(there.sum()),
            **write(part.path, columns),
            "sums": {name: f"{total:x}" for name, total in rows.sums().items()},
            "bad": [asdict(sample) for sample in bad],
        }
        write_atomically(part.beside, json.dumps(facts))


class Rows:
    """The rows of a part while they come in; those of samples that cannot be decoded stay empty."""

    def __init__(self, part: Part, wanted: Mapping[Tap, int], dtype: type[np.floating[Any]]) -> None:
        count = part.stop - part.start
        self.part, self.seen = part, 0
        self.indices, self.labels = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        self.vectors = {tap.name: np.zeros((count, width), dtype) for tap, width in wanted.items()}

    @property
    def full(self) -> bool:
        """Whether all samples of the part have been seen."""
        return self.seen == self.part.stop - self.part.start

    def add(self, vectors: Mapping[str, Tensor], labels: Tensor, indices: Tensor, seen: int) -> None:
        """What a batch gave: rows of samples of this part, of `seen` that were tried."""
        places = indices.numpy() - self.part.start
        self.seen += seen
        assert self.seen <= len(self.indices), "a batch is of one part"
        self.indices[places], self.labels[places] = indices.numpy(), labels.numpy()
        with np.errstate(over="ignore"):  # what does not fit is found when the part is written
            for name, found in vectors.items():
                self.vectors[name][places] = found.numpy()

    def sums(self) -> dict[str, int]:
        """The sums of the hashes of rows, by column; keys belong to the shards' own hash."""
        columns = {INDEX: self.indices, LABEL: self.labels, **self.vectors}
        return {
            name: sum_of_rows(bytes_of(torch.from_numpy(values)), len(values), self.part.start)
            for name, values in columns.items()
        }


def content(found: Sequence[Mapping[str, Any]], wanted: Mapping[Tap, int], dtype: type[np.floating[Any]]) -> str:
    """One hash over a split, from the facts of all its parts: equal for equal features, however they were cut."""
    samples = found[-1]["stop"]
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {INDEX: ("int64", (samples,)), LABEL: ("int64", (samples,))}
    kinds |= {tap.name: (np.dtype(dtype).name, (samples, width)) for tap, width in wanted.items()}
    return root(
        (name, kind, shape, sum(int(facts["sums"][name], 16) for facts in found) % MODULUS)
        for name, (kind, shape) in kinds.items()
    )


class _Noted(Ledger):
    """Keeps bad samples for the JSON beside their part, under their index in the split."""

    def __init__(self, indices: NDArray[np.int64], max_rate: float) -> None:
        super().__init__(None, max_rate)
        self._indices = indices
        self.noted: list[BadSample] = []

    def record(self, sample: BadSample) -> None:
        super().record(sample)
        self.noted.append(BadSample(**{**asdict(sample), "position": int(self._indices[sample.position])}))
