"""The list of a source, in slices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_shards.packing.listing import Listing, change
from data_shards.readers.reader import Entry
from tests.data_shards.pictures import Listed


class Named(Listed):
    """Lists entries as they are given."""

    def __init__(self, *entries: Entry) -> None:
        super().__init__([])
        self.given = entries

    def entries(self) -> Iterator[Entry]:
        return iter(self.given)


ODD = (
    Entry("a b\nc.jpg", "train", "x", ["tar", 512, 7]),
    Entry(b"\xff.jpg".decode("utf8", "surrogateescape"), "test", None),
    Entry("ü.jpg", "train", "10", None, {"caption": "a\tb", "stars": 3}),
    Entry("d.jpg", "train", "9"),
    Entry("e.jpg", "train", None, {"key": None}),
)


def write(folder: Path, *entries: Entry, length: int = 2) -> Listing:
    return Listing.write(Named(*entries), folder / "listing", length, lambda _: None)


def test_what_is_written_is_read_by_slice_and_from_anywhere_in_it(tmp_path: Path) -> None:
    made = write(tmp_path, *ODD)
    assert (made.entries, made.slices, made.classes) == (5, 3, ("9", "10", "x"))
    assert Listing.load(made.folder) == made
    assert [pair for piece in range(3) for pair in made.read(piece)] == list(enumerate(ODD))
    assert list(made.read(1, 1)) == [(3, ODD[3])]
    assert made.numbers(2) == range(4, 5)


def test_what_was_half_written_is_not_there(tmp_path: Path) -> None:
    def broken() -> Iterator[Entry]:
        yield from ODD
        raise RuntimeError

    reader = Named()
    reader.entries = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        Listing.write(reader, tmp_path / "listing", 2, lambda _: None)
    with pytest.raises(FileNotFoundError):
        Listing.load(tmp_path / "listing")
    assert write(tmp_path, *ODD).entries == 5


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (ODD, None),
        (ODD[:4], "listed 5 images and now lists 4: number 4 was 'e.jpg' and is gone"),
        ((*ODD, Entry("f", "train", None)), "5 images and now lists 6: there was no number 5 and is now 'f'"),
        ((*ODD[:3], Entry("new", "train", "9"), ODD[4]), "though 5 as before: number 3 was 'd.jpg' and is now 'new'"),
        ((*ODD[:3], Entry("d.jpg", "test", "9"), ODD[4]), "though 5 as before: number 3 was 'd.jpg'"),
    ],
)
def test_a_change_of_the_source_is_named(now: tuple[Entry, ...], said: str | None, tmp_path: Path) -> None:
    made = write(tmp_path, *ODD)
    found = made.change(Named(*now))
    assert found is None if said is None else said in str(found)
    assert (change(Named(*now), made.entries, made.hash) is None) == (said is None)


def test_an_empty_source_has_no_slices(tmp_path: Path) -> None:
    made = write(tmp_path)
    assert (made.entries, made.slices) == (0, 0)


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[Any] = []
    Listing.write(Named(*ODD), tmp_path / "listing", 2, seen.append)
    assert seen == [2, 4, 5]
