"""Where two checkpoints differ. Tensors of equal content are not read: their hashes say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from pipeline.checkpoints.reader import Reader
from pipeline.checkpoints.store import read_whole, reader_of
from pipeline.checkpoints.values import from_json


@dataclass(frozen=True)
class Difference:
    """One tensor or value that is not the same in both."""

    name: str
    what: str
    """In a few words: the types, shapes or values, or that one has none."""
    elements: int = 0
    """How many elements differ."""
    largest: float = 0.0
    """The largest absolute difference of an element; not a number where one of them is none."""


def compare(one: Path, other: Path) -> Iterator[Difference]:
    """What differs, tensors first, by name. Raises `ArtifactError` for what is no checkpoint."""
    readers = [reader_of(path) for path in (one, other)]
    facts = [
        {n: f for n, f in reader.read_metadata().state_dict_metadata.items() if isinstance(f, TensorStorageMetadata)}
        for reader in readers
    ]
    known = [reader.index["tensors"] if isinstance(reader, Reader) else {} for reader in readers]
    for name in sorted(facts[0].keys() | facts[1].keys()):
        if name not in facts[0] or name not in facts[1]:
            yield Difference(name, f"only in the {'first' if name in facts[0] else 'second'}")
            continue
        a, b = (_kind(f[name]) for f in facts)
        if a != b:
            yield Difference(name, f"{a} and {b}")
        elif name not in known[0] or name not in known[1] or known[0][name]["content"] != known[1][name]["content"]:
            found = _difference(
                name, *(read_whole(path, reader, name) for path, reader in zip((one, other), readers, strict=True))
            )
            if found is not None:
                yield found
    yield from _values(readers)


def _kind(facts: TensorStorageMetadata) -> str:
    return f"{str(facts.properties.dtype).removeprefix('torch.')} {tuple(facts.size)}"


def _difference(name: str, a: Tensor, b: Tensor) -> Difference | None:
    exact = torch.complex128 if a.is_complex() else torch.float64
    a, b = a.reshape(-1), b.reshape(-1)
    both_none = a.isnan() & b.isnan() if a.is_floating_point() else torch.zeros(len(a), dtype=torch.bool)
    differ = (a.to(exact) != b.to(exact)) & ~both_none
    if not differ.any():
        return None
    gap = (a[differ].to(exact) - b[differ].to(exact)).abs()
    return Difference(name, "", int(differ.sum()), float(gap.max()))


def _values(readers: list[Any]) -> Iterator[Difference]:
    if not all(isinstance(reader, Reader) for reader in readers):
        return
    a, b = (reader.index["values"] for reader in readers)
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name) or (name in a) != (name in b):
            shown = [str(from_json(v[name])) if name in v else "none" for v in (a, b)]
            yield Difference(name, " and ".join(text if len(text) < 40 else f"{text[:37]}…" for text in shown))
