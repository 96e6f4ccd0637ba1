"""Sorts more than fits in memory: sorted runs in temporary files, merged as they are read.

What fits is sorted in memory and never touches the disk.
"""

from __future__ import annotations

import heapq
import itertools
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, TypeVar

from data_shards.errors import SourceError

IN_MEMORY = 200_000
"""Items that are sorted in memory; each run in a file has as many."""
_FAN_IN = 64  # runs that are merged at once, each an open file
_BLOCK = 1000  # items that are read from a run at once

T = TypeVar("T")


def sort_on_disk(items: Iterable[T]) -> Iterator[T]:
    """The items in their order, as `sorted` gives them. They are compared with `<`, and pickled where they are many.

    Temporary files lie where `TMPDIR` says and are gone with the iterator. Raises `SourceError` where they do not fit.
    """
    items, in_memory = iter(items), IN_MEMORY
    first = sorted(itertools.islice(items, in_memory))  # type: ignore[type-var]  # what `<` compares
    if len(first) < in_memory:
        yield from first
        return
    levels: list[list[IO[bytes]]] = [[]]
    try:
        run = first
        while run:
            _add(levels, _spill(run))
            run = sorted(itertools.islice(items, in_memory))  # type: ignore[type-var]
        del first
        yield from heapq.merge(*(_load(file) for level in levels for file in level))
    finally:
        for file in itertools.chain.from_iterable(levels):
            file.close()


def _add(levels: list[list[IO[bytes]]], run: IO[bytes]) -> None:
    """Add a run; where a level is full its runs become one of the next, so that each item is copied a few times."""
    for depth in itertools.count():
        levels[depth].append(run)
        if len(levels[depth]) < _FAN_IN:
            return
        run = _spill(heapq.merge(*map(_load, levels[depth])))
        for file in levels[depth]:
            file.close()
        levels[depth].clear()
        if depth + 1 == len(levels):
            levels.append([])


def _spill(items: Iterable[Any]) -> IO[bytes]:
    items = iter(items)
    file = tempfile.TemporaryFile(prefix="sort-")  # noqa: SIM115  # closed by sort_on_disk
    while block := list(itertools.islice(items, _BLOCK)):
        try:
            pickle.dump(block, file, pickle.HIGHEST_PROTOCOL)
            file.flush()
        except OSError as error:
            file.close()
            given, right = f"cannot hold the sorted names ({error.strerror})", "free some space, or set TMPDIR"
            raise SourceError(tempfile.gettempdir(), given, right) from None
    return file


def _load(file: IO[bytes]) -> Iterator[Any]:
    file.seek(0)
    while True:
        try:
            block = pickle.load(file)
        except EOFError:
            return
        yield from block
