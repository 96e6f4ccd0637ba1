"""Near duplicates: images whose perceptual hashes differ in at most `bits` of their 64 bits.

Two such hashes agree in at least one of bits + 1 bands, as their differences cannot lie in all; and in at least two
of bits + 2. So for each band, or for each two where there are many hashes, they are grouped by their value there, and
only those within a group are compared.

An image is dropped where it is near an earlier one that is kept. Images with one and the same hash stand or fall
together, so only different hashes are compared, each for its first image. Memory is bounded by comparing a part of the
hashes at a time; the others wait in files. Only the pairs that were found are all in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_shards.packing.duplicates import Repeats

LOOK = np.dtype([("hash", "<u8"), ("number", "<u8")])
"""A perceptual hash and the number of its image. Of two images the one with the lower number is the earlier."""

_TOGETHER = 1_000_000  # lines that are compared at once
_MANY = 4_000_000  # different hashes from which on two bands must agree
_PART_BITS = 8
_SPREAD = np.uint64(0x9E3779B97F4A7C15)

Lines = NDArray[np.void]
Bands = tuple[tuple[int, int], ...]


def near_across(looks: Iterable[Lines], bits: int, folder: Path, together: int = _TOGETHER) -> Iterator[Repeats]:
    """What is to be dropped, some of it at a time. `looks` are arrays of `LOOK` in any order; `folder` is for files."""
    folder.mkdir(exist_ok=True)
    same = folder / "same"
    firsts = folder / "firsts"
    with open(same, "wb") as others, open(firsts, "wb") as kept:
        for lines in _parts(looks, ((0, 64),), folder, together):
            first = _first_of_its_hash(lines)
            np.stack([lines["number"], lines["number"][first]], 1)[first != np.arange(len(lines))].tofile(others)
            lines[first == np.arange(len(lines))].tofile(kept)
    dropped = _drop(_near_pairs(firsts, bits, folder, together))
    for pairs in _read(same, np.dtype(("<u8", 2)), together):
        # The first image of a hash may itself be dropped: then the others repeat what it repeats.
        yield Repeats(pairs[:, 0], np.array([dropped.get(of, of) for of in pairs[:, 1].tolist()], np.uint64))
    yield Repeats(np.array(list(dropped), np.uint64), np.array(list(dropped.values()), np.uint64))


def _first_of_its_hash(lines: Lines) -> NDArray[np.intp]:
    """Sorts lines by hash and number in place; gives for each the place of the first with the same hash."""
    lines[:] = lines[np.lexsort((lines["number"], lines["hash"]))]
    begins = np.concatenate(([True], lines["hash"][1:] != lines["hash"][:-1]))
    first: NDArray[np.intp] = np.maximum.accumulate(np.where(begins, np.arange(len(lines)), 0))
    return first


def _near_pairs(firsts: Path, bits: int, folder: Path, together: int) -> NDArray[np.uint64]:
    """Pairs (n, 2) of numbers, the earlier first, whose hashes differ in at most `bits` bits; sorted by the later."""
    agreeing = 1 if firsts.stat().st_size < _MANY * LOOK.itemsize else 2
    edges = np.linspace(0, 64, bits + agreeing + 1).round().astype(int).tolist()
    found = [np.empty((0, 2), np.uint64)]
    for bands in itertools.combinations(itertools.pairwise(edges), agreeing):
        for lines in _parts(_read(firsts, LOOK, together), bands, folder, together):
            found.append(_pairs_in(lines, bands, bits))
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]


def _pairs_in(lines: Lines, bands: Bands, bits: int) -> NDArray[np.uint64]:
    """Pairs that agree in some bands, compared at growing distance in the order of their values there."""
    value = _value(lines["hash"], bands)
    order = np.argsort(value, kind="stable")
    value, hashes, numbers = value[order], lines["hash"][order], lines["number"][order]
    found = [np.empty((0, 2), np.uint64)]
    left = np.arange(len(lines))
    for lag in itertools.count(1):
        left = left[left + lag < len(lines)]
        left = left[value[left] == value[left + lag]]
        if not len(left):
            return np.concatenate(found)
        near = left[np.bitwise_count(hashes[left] ^ hashes[left + lag]) <= bits]
        found.append(np.sort(np.stack([numbers[near], numbers[near + lag]], 1), axis=1))
    raise AssertionError


def _drop(pairs: NDArray[np.uint64]) -> dict[int, int]:
    """Which images are dropped for which, where each is dropped that is near an earlier one that is kept."""
    dropped: dict[int, int] = {}
    for earlier, later in pairs.tolist():
        if later not in dropped and earlier not in dropped:
            dropped[later] = earlier
    return dropped


def _parts(looks: Iterable[Lines], bands: Bands, folder: Path, together: int) -> Iterator[Lines]:
    """All lines, in parts such that those that agree in some bands are in one."""
    waiting: list[Lines] = [np.empty(0, LOOK)]
    spilled = False
    for lines in looks:
        waiting.append(lines)
        if sum(map(len, waiting)) > together:
            _spill(np.concatenate(waiting), bands, folder)
            waiting, spilled = [np.empty(0, LOOK)], True
    if not spilled:
        yield np.concatenate(waiting)
        return
    _spill(np.concatenate(waiting), bands, folder)
    for path in sorted(folder.glob("part-*")):
        yield np.fromfile(path, LOOK)
        path.unlink()


def _spill(lines: Lines, bands: Bands, folder: Path) -> None:
    # Multiplied, since neither the first bits of a value nor its last need be evenly spread.
    part = (_value(lines["hash"], bands) * _SPREAD) >> np.uint64(64 - _PART_BITS)
    order = np.argsort(part, kind="stable")
    lines, part = lines[order], part[order]
    for begin, end in itertools.pairwise([*np.unique(part, return_index=True)[1].tolist(), len(lines)]):
        with open(folder / f"part-{int(part[begin]):03d}", "ab") as file:
            lines[begin:end].tofile(file)


def _value(hashes: NDArray[np.uint64], bands: Bands) -> NDArray[np.uint64]:
    """The bits of some bands (first bit, and the one after the last), side by side."""
    value = np.zeros(len(hashes), np.uint64)
    for low, high in bands:
        value = value << np.uint64((high - low) % 64) | (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
    return value


def _read(path: Path, dtype: np.dtype[Any], together: int) -> Iterator[NDArray[Any]]:
    begin = 0
    while len(lines := np.fromfile(path, dtype, together, offset=begin)):
        yield lines
        begin += lines.nbytes
