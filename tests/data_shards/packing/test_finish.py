"""Slices become a shard set: duplicates across them are dropped, and nothing else changes."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.errors import OutputError, SourceError
from data_shards.manifest import Manifest
from data_shards.packing.finish import finish
from data_shards.packing.folder import FOLDER
from data_shards.sample import number_of
from data_shards.stream import ShardSet
from data_shards.verify import verify
from tests.data_shards.pictures import Listed, encode, jpeg, listed, mixed, pack_into, pixels


def numbers(directory: Path) -> dict[str, list[int]]:
    """The numbers of the samples of each split, in their order."""
    sets = {split: ShardSet(directory, split) for split in Manifest.load(directory).splits}
    return {
        split: [
            number_of(found.key(shard, sample)) for shard, count in enumerate(found.counts) for sample in range(count)
        ]
        for split, found in sets.items()
    }


def ledger(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "duplicates.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("length", [1, 3, 7, 39])
def test_slices_of_any_length_give_the_same_samples_and_accounts(length: int, tmp_path: Path) -> None:
    whole = pack_into(tmp_path / "whole", mixed())
    sliced = pack_into(tmp_path / "sliced", mixed(), images_per_slice=length, samples_per_shard=4)
    assert numbers(tmp_path / "sliced") == numbers(tmp_path / "whole")
    assert (sliced.totals, sliced.reasons, sliced.duplicates) == (whole.totals, whole.reasons, whole.duplicates)
    assert verify(tmp_path / "sliced", decode=True) == []
    assert [line["number"] for line in ledger(tmp_path / "sliced")] == [7, 17, 27, 37]
    assert [line["of"] for line in ledger(tmp_path / "sliced")] == [2, 12, 22, 32]
    lines = [json.loads(line) for line in (tmp_path / "sliced/quarantine/ledger.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [3, 5, 13, 15, 23, 25, 33, 35]
    for line in lines:
        with tarfile.open(tmp_path / "sliced/quarantine" / line["tar"]) as tar:
            assert tar.extractfile(line["member"]).read() == mixed().images[line["number"]][3]  # type: ignore[union-attr]


def test_a_shard_that_loses_a_sample_is_what_packing_without_it_gives(tmp_path: Path) -> None:
    rows = [(str(n), "train", None, jpeg(0 if n == 7 else n)) for n in range(10)]
    pack_into(tmp_path / "all", Listed(rows), images_per_slice=5)
    tar = (tmp_path / "all/train-000001.tar").read_bytes()
    assert numbers(tmp_path / "all") == {"train": [0, 1, 2, 3, 4, 5, 6, 8, 9]}
    kept = pack_into(tmp_path / "kept", Listed(rows), images_per_slice=5, duplicates="keep")
    assert kept.shards[1].samples == 5
    with (
        tarfile.open(tmp_path / "kept/train-000001.tar") as before,
        tarfile.open(tmp_path / "all/train-000001.tar") as now,
    ):
        wanted = [name for name in before.getnames() if not name.startswith("000000007")]
        assert now.getnames() == wanted
        assert all(now.extractfile(n).read() == before.extractfile(n).read() for n in wanted)  # type: ignore[union-attr]
    assert len(tar) < kept.shards[1].bytes


def test_a_shard_that_loses_all_is_left_out_and_the_numbers_go_on(tmp_path: Path) -> None:
    rows = [(str(n), "train", None, jpeg(n % 5 if n < 10 else n)) for n in range(15)]
    manifest = pack_into(tmp_path, Listed(rows), images_per_slice=5)
    assert [(s.name, s.samples, s.first_index) for s in manifest.shards] == [
        ("train-000000.tar", 5, 0),
        ("train-000001.tar", 5, 5),
    ]
    assert manifest.totals == {"listed": 15, "accepted": 10, "quarantined": 0, "duplicates": 5}
    assert verify(tmp_path) == []


def test_images_of_an_excluded_set_are_dropped_by_name(tmp_path: Path) -> None:
    pack_into(tmp_path / "exam", listed(4, test=2))
    reader = Listed([*listed(8).images, ("leak.jpg", "train", None, jpeg(5))])
    for length in (3, 100):
        out = tmp_path / f"train{length}"
        manifest = pack_into(out, reader, exclude=(str(tmp_path / "exam"),), images_per_slice=length)
        assert manifest.duplicates == {"excluded": 7}
        assert numbers(out) == {"train": [6, 7]}
        assert ledger(out)[0] == {
            "number": 0,
            "source": "0/0.jpg",
            "kind": "excluded",
            "of": f"{tmp_path}/exam/train/000000000-0_0",
        }
        assert ledger(out)[4]["of"] == f"{tmp_path}/exam/test/000000004-test_0"
    with pytest.raises(SourceError, match="none of its 4 images can be used: all are excluded"):
        pack_into(tmp_path / "none", listed(4), exclude=(str(tmp_path / "exam"),))


def test_near_duplicates_are_dropped_also_across_slices_and_from_an_excluded_set(tmp_path: Path) -> None:
    def picture(seed: int) -> np.ndarray:
        return pixels(seed, 96, 128)

    rows = [(f"{n}.png", "train", None, encode(picture(n % 6), "PNG" if n < 6 else "JPEG")) for n in range(12)]
    for length in (100, 5, 2):
        out = tmp_path / str(length)
        manifest = pack_into(out, Listed(rows), duplicates="near", images_per_slice=length)
        assert manifest.duplicates == {"near": 6}
        assert numbers(out) == {"train": list(range(6))}
        assert [line["of"] for line in ledger(out)] == list(range(6))
    exam = Listed([("q.png", "test", None, encode(picture(2), "PNG"))])
    pack_into(tmp_path / "exam", exam)
    reader = Listed(rows[6:])
    manifest = pack_into(tmp_path / "out", reader, duplicates="near", exclude=(str(tmp_path / "exam"),))
    assert manifest.duplicates == {"excluded": 1}
    assert numbers(tmp_path / "out") == {"train": [0, 1, 3, 4, 5]}


def test_slices_that_are_not_packed_cannot_be_finished(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no packing that is under way"):
        finish(tmp_path)
    manifest = pack_into(tmp_path, listed(3))
    assert finish(tmp_path) == manifest
    assert not (tmp_path / FOLDER).exists()
