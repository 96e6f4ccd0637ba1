"""Near duplicates, against the plain rule applied to every pair."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.packing import near
from data_shards.packing.near import LOOK, near_across

_HASHES = st.integers(0, 255).map(lambda n: n * 0x0101010101010101) | st.integers(0, 7)  # many of them near others


def by_the_rule(hashes: list[int], bits: int) -> set[int]:
    """Numbers of the images that are near an earlier one that is kept."""
    kept: list[int] = []
    dropped = set()
    for number, look in enumerate(hashes):
        if any((look ^ other).bit_count() <= bits for other in kept):
            dropped.add(number)
        else:
            kept.append(look)
    return dropped


def lines(hashes: list[int]) -> np.ndarray:
    made = np.empty(len(hashes), LOOK)
    made["hash"], made["number"] = hashes, np.arange(len(hashes))
    return made


def found(hashes: list[int], bits: int, folder: Path, together: int, pieces: int = 3) -> dict[int, int]:
    dropped: dict[int, int] = {}
    for repeats in near_across(np.array_split(lines(hashes), pieces), bits, folder, together):
        for number, of in zip(repeats.number.tolist(), repeats.of.tolist(), strict=True):
            assert number not in dropped, "an image is dropped once"
            dropped[number] = of
    return dropped


def alike(seed: int, count: int, bits: int) -> list[int]:
    """Hashes in families: each has a few of its bits other than the first one of the family."""
    draws = np.random.default_rng(seed)
    families = draws.integers(0, 1 << 63, max(1, count // 8), np.uint64).tolist()
    hashes = []
    for _ in range(count):
        flips = draws.choice(64, draws.integers(0, bits + 3), replace=False)
        hashes.append(int(draws.choice(families)) ^ sum(1 << int(flip) for flip in flips))
    return hashes


@pytest.mark.parametrize("together", [1_000_000, 50])
@pytest.mark.parametrize("bits", [0, 1, 3, 7])
def test_the_same_images_are_dropped_as_by_the_rule(bits: int, together: int, tmp_path: Path) -> None:
    hashes = alike(bits, 400, bits)
    dropped = found(hashes, bits, tmp_path / "near", together)
    assert set(dropped) == by_the_rule(hashes, bits)
    assert 50 < len(dropped) < 400
    assert not any(path.name.startswith("part-") for path in (tmp_path / "near").iterdir())
    for number, of in dropped.items():
        assert of < number
        assert of not in dropped, "what is named instead is kept"


@pytest.mark.parametrize("bits", [0, 2, 5])
def test_many_hashes_are_compared_where_two_bands_agree(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "_MANY", 0)
    hashes = alike(bits, 300, bits)
    assert set(found(hashes, bits, tmp_path / "near", 70)) == by_the_rule(hashes, bits)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 255).map(lambda n: n * 0x0101010101010101 % (1 << 64)) | st.integers(0, 7)),
    st.integers(0, 7),
)
def test_any_hashes_are_judged_as_by_the_rule(
    tmp_path_factory: pytest.TempPathFactory, hashes: list[int], bits: int
) -> None:
    assert set(found(hashes, bits, tmp_path_factory.mktemp("near"), 10)) == by_the_rule(hashes, bits)


def test_the_order_in_which_slices_are_read_does_not_matter(tmp_path: Path) -> None:
    made = lines(alike(5, 200, 3))
    results = []
    for number, pieces in enumerate(itertools.permutations(np.array_split(made, 3))):
        repeats = list(near_across(pieces, 3, tmp_path / str(number)))
        results.append({n for piece in repeats for n in piece.number.tolist()})
    assert all(result == results[0] for result in results)
