"""Sorting more than fits in memory, compared with `sorted`."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards import sorting
from data_shards.errors import SourceError
from data_shards.sorting import sort_on_disk


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "IN_MEMORY", 7)
    monkeypatch.setattr(sorting, "_BLOCK", 3)
    monkeypatch.setattr(sorting, "_FAN_IN", 3)


@given(st.lists(st.tuples(st.text(st.characters(), max_size=3), st.booleans()), max_size=200))
def test_it_is_the_order_of_sorted(items: list[tuple[str, bool]]) -> None:
    assert list(sort_on_disk(iter(items))) == sorted(items)


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 7 * 3, 7 * 9, 7 * 27 + 5, 2000])
def test_many_runs_are_merged_in_levels(count: int) -> None:
    items = [random.Random(n).random() for n in range(count)]
    assert list(sort_on_disk(items)) == sorted(items)


def test_few_files_are_open_and_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Any] = []
    make = sorting.tempfile.TemporaryFile

    def watched(**settings: Any) -> Any:
        files.append(make(**settings))
        assert sum(not file.closed for file in files) <= 3 * 5, "a level has fewer than three, and there are few levels"
        return files[-1]

    monkeypatch.setattr(sorting.tempfile, "TemporaryFile", watched)
    items = sort_on_disk(range(700, 0, -1))
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]
    assert len(files) > 100
    assert all(file.closed for file in files)


def test_a_full_disk_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sorting.pickle, "dump", full)
    with pytest.raises(SourceError, match=r"cannot hold the sorted names \(No space left on device\); free some space"):
        list(sort_on_disk(_many()))


def _many() -> Iterator[int]:
    yield from range(100)
