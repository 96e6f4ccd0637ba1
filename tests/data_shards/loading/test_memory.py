"""The memory of a loader is bounded: by its threads and its ring, not by batches, shards, or the largest image."""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_shards.batch import Arrays, Draw
from data_shards.images import decode
from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.views import MultiCrop
from pipeline.views.multicrop import Crops
from tests.data_shards.pictures import Listed, Thumbnail, broken_jpeg, encode, jpeg, pack_into, pixels

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says how much is resident")

MIB = 1 << 20


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def crops() -> MultiCrop:
    return MultiCrop.Config(crops=(Crops(count=2, size=24, scale=(0.2, 1.0)),)).build()


class Stamp(Thumbnail):
    """Decodes and keeps nothing; cheap, so that many batches fit into a second."""

    def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
        arrays[0][0, row] = decode(image)[0, 0]


@pytest.fixture
def growth() -> Iterator[list[int]]:
    """Marks of resident memory; the test fails where it rises by more than 4 MiB from the second on."""
    marks: list[int] = []
    yield marks
    risen = [(mark - marks[1]) / MIB for mark in marks[1:]]
    assert max(risen) < 4, f"MiB after warming up: {risen}"


def test_thousands_of_batches_leave_nothing_behind(tmp_path: Path, growth: list[int]) -> None:
    names = [(str(n), "train", str(n % 3), broken_jpeg(n) if n == 7 else jpeg(n)) for n in range(600)]
    pack_into(tmp_path, Listed(names), samples_per_shard=5, probe="header")
    with Loader(ShardSet(tmp_path), Stamp(), batch=8, ledger=Ledger(max_rate=1)) as loader:
        stream = iter(loader)
        for _ in range(6):
            for _ in range(750):  # of all shards, and of ten epochs
                next(stream)
            growth.append(resident())
    assert loader.ledger.bad >= 6 * 9


def test_a_huge_image_leaves_no_huge_buffer_behind(tmp_path: Path, growth: list[int]) -> None:
    big = encode(pixels(1, 6000, 8000), quality=50)  # 144 MB decoded
    wide = encode(pixels(2, 40, 30000), quality=50)
    names = [(str(n), "train", None, {40: big, 80: wide}.get(n, jpeg(n, 60, 80))) for n in range(120)]
    pack_into(tmp_path, Listed(names), samples_per_shard=50)
    crops().write(jpeg(1), Draw(0, 0, 0), crops().allocate(1), 0)  # loads the compiled code
    before = resident()
    with Loader(ShardSet(tmp_path), crops(), batch=8, threads=2, seed=1) as loader:
        stream = iter(loader)
        for _ in range(5):
            for _ in range(15 * 2):  # two epochs, each with both of them
                next(stream)
            growth.append(resident())
    assert growth[-1] - before < 40 * MIB, "one of them takes 144 MB"


def test_iterating_anew_and_closing_leave_nothing_behind(tmp_path: Path, growth: list[int]) -> None:
    pack_into(tmp_path, Listed([(str(n), "train", None, jpeg(n)) for n in range(40)]))
    for _ in range(5):
        for _ in range(8):
            with Loader(ShardSet(tmp_path), crops(), batch=256, threads=4) as loader:
                for _ in range(2):
                    list(itertools.islice(loader, 2))
        growth.append(resident())
    assert sys.getrefcount(loader) < 10
    assert np.isfinite(growth).all()
