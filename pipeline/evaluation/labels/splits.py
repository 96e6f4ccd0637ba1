"""Which labels an evaluation on few of them may use: a seeded, balanced choice, or a list that somebody published.

balanced(labels, 0.01, seed)        a share of each class           SimCLR's and SEER's 1 % and 10 %
few(labels, 5, seed)                so many of each class           k-shot
listed("1percent.txt", shard_set)   those of a list of file names   the very images of a paper
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards.sample import key_for
from data_shards.stream import ShardSet
from pipeline.errors import ArtifactError

Indices = NDArray[np.int64]
_SHOWN = 3
"""Names in a sentence."""


def balanced(labels: Indices, share: float, seed: int) -> Indices:
    """Indices, in order, of a seeded choice of `share` of each class, at least one; unlabelled samples are left out."""
    return _of_each_class(labels, seed, lambda members: max(1, round(share * members)))


def few(labels: Indices, count: int, seed: int) -> Indices:
    """Indices, in order, of a seeded choice of `count` of each class, or all that there are."""
    return _of_each_class(labels, seed, lambda members: min(count, members))


def listed(path: Path | str, shard_set: ShardSet) -> Indices:
    """Indices, in order, of the samples that a file names, one a line: by file name, or by the end of their path.

    The published splits of ImageNet are such lists: n01440764_10026.JPEG. A name is compared with the end of a sample's
    key, as keys are made of names (data_shards/sample.py), so `cat/1.jpg` tells it from `dog/1.jpg`.

    Raises `ArtifactError` for a name that no sample has, or that several have.
    """
    wanted: dict[str, tuple[int, str]] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            str(path), f"cannot be read ({error})", "name a text file with a file name a line"
        ) from None
    for number, line in enumerate(map(str.strip, lines), 1):
        if line:
            wanted.setdefault(_slug(line), (number, line))
    if not wanted:
        raise ArtifactError(
            str(path), "names no sample", "write a file name in each line, such as n01440764_10026.JPEG"
        )
    found: dict[str, list[int]] = {}
    for index, key in enumerate(shard_set.keys()):
        for end in _ends(key):
            if end in wanted:
                found.setdefault(end, []).append(index)
    where = f"{shard_set.where}, split {shard_set.split}"
    strangers = [wanted[name] for name in wanted if name not in found]
    if strangers:
        raise ArtifactError(
            str(path),
            f"names {len(strangers)} of {len(wanted)} that are no samples of {where}: {_some(strangers)}",
            "take the list of these pictures, or remove the lines; a picture that was broken or a duplicate when it "
            "was packed is no sample either",
        )
    several = [wanted[name] for name, indices in found.items() if len(indices) > 1]
    if several:
        raise ArtifactError(
            str(path),
            f"has {len(several)} names that fit several samples of {where}: {_some(several)}",
            "write them with their folder, such as cat/1.jpg",
        )
    return np.unique(np.array([indices[0] for indices in found.values()], np.int64))


def _of_each_class(labels: Indices, seed: int, count: Callable[[int], int]) -> Indices:
    draw = np.random.Generator(np.random.Philox(key=[seed, 0]))
    chosen = [np.empty(0, np.int64)]
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        chosen.append(draw.permutation(members)[: count(len(members))])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _slug(name: str) -> str:
    """A name as it stands in a key, without the number before it."""
    return key_for(0, name).partition("-")[2]


def _ends(key: str) -> list[str]:
    """What may be meant by a sample with this key: all of it, and what follows its number and each `_` in it."""
    name = _slug(f"{key}.x")  # of which the extension is cut off
    number = name.partition("-")[0]
    starts = [len(number) + 1] if number.isdecimal() else []
    starts += [place + 1 for place, letter in enumerate(name) if letter == "_"]
    return [name, *(name[start:] for start in starts)]


def _some(named: list[tuple[int, str]]) -> str:
    shown = ", ".join(f"{name} (line {number})" for number, name in sorted(named)[:_SHOWN])
    return shown if len(named) <= _SHOWN else f"{shown} and {len(named) - _SHOWN} more"
