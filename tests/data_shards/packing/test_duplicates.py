"""Exact duplicates across slices, against a dictionary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_shards.packing.duplicates import repeats_across
from data_shards.packing.records import RECORDS, Records, read_records


def slices(folder: Path, seed: int, count: int, images: int, different: int) -> list[list[tuple[bytes, int]]]:
    """Slices of images with random hashes, some of them equal; each slice has a hash once."""
    draws = np.random.default_rng(seed)
    hashes = [draws.bytes(32) for _ in range(different)]
    made = []
    for piece in range(count):
        work = folder / str(piece)
        work.mkdir()
        records = Records(work, {})
        chosen = draws.choice(different, min(images, different), replace=False)
        made.append([(hashes[at], piece * images + n) for n, at in enumerate(chosen.tolist())])
        for digest, number in made[-1]:
            records.add(digest, 7, number, 1, 2)
        records.finish()
        records.close()
    return made


@pytest.mark.parametrize("together", [1_000_000, 20, 3])
def test_the_first_of_each_hash_is_kept_whatever_is_sorted_at_once(together: int, tmp_path: Path) -> None:
    made = slices(tmp_path, 3, count=6, images=30, different=70)
    first: dict[bytes, int] = {}
    expected = {}
    for digest, number in (pair for piece in made for pair in piece):
        if digest in first:
            expected[number] = first[digest]
        first.setdefault(digest, number)
    found = {}
    for repeats in repeats_across([tmp_path / str(piece) / "by_hash" for piece in range(6)], together):
        found.update(zip(repeats.number.tolist(), repeats.of.tolist(), strict=True))
    assert found == expected
    assert len(expected) > 50


def test_slices_without_images_do_no_harm(tmp_path: Path) -> None:
    slices(tmp_path, 1, count=2, images=0, different=1)
    assert list(repeats_across([tmp_path / str(piece) / "by_hash" for piece in range(2)])) == []


def test_records_go_on_from_a_length_and_know_what_came_before(tmp_path: Path) -> None:
    records = Records(tmp_path, {})
    records.add(b"a" * 32, 1, 10, 0, 0)
    lengths = records.sync()
    records.add(b"b" * 32, 1, 11, 0, 0)
    records.close()
    again = Records(tmp_path, lengths)
    assert (again.find(b"a" * 32), again.find(b"b" * 32)) == (10, None)
    again.add(b"c" * 32, (1 << 64) - 1, 12, 3, 5)
    again.sync()
    again.close()
    lines = read_records(tmp_path / RECORDS)
    assert lines["number"].tolist() == [10, 12]
    assert lines[1].item() == (b"c" * 16, (1 << 64) - 1, 12, 3, 5)
