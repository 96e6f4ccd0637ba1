"""Which labels are used: balanced choices, and published lists of file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_shards.stream import ShardSet
from pipeline.errors import ArtifactError
from pipeline.evaluation.labels.splits import balanced, few, listed
from tests.data_shards.pictures import Listed, jpeg, pack_into

LABELS = np.array([0] * 100 + [1] * 30 + [-1] * 7 + [2] * 5, np.int64)


def counts(chosen: np.ndarray) -> list[int]:
    return np.bincount(LABELS[chosen]).tolist()


def test_a_share_is_of_each_class_and_at_least_one_label() -> None:
    assert counts(balanced(LABELS, 0.1, seed=0)) == [10, 3, 1]
    assert counts(balanced(LABELS, 1e-3, seed=0)) == [1, 1, 1]
    assert balanced(LABELS, 1.0, seed=0).tolist() == np.flatnonzero(LABELS >= 0).tolist()


def test_a_number_is_of_each_class_or_all_that_there_are() -> None:
    assert counts(few(LABELS, 8, seed=0)) == [8, 8, 5]


def test_a_choice_is_of_its_seed_alone_in_order_and_without_repetition() -> None:
    for choose in (lambda seed: balanced(LABELS, 0.1, seed), lambda seed: few(LABELS, 5, seed)):
        first = choose(1)
        assert np.array_equal(first, choose(1))
        assert not np.array_equal(first, choose(2))
        assert np.array_equal(first, np.unique(first))


def test_without_a_label_there_is_nothing_to_choose() -> None:
    assert len(balanced(np.full(3, -1), 0.5, seed=0)) == 0


@pytest.fixture(scope="module")
def shard_set(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """As an ImageNet folder is packed: train/<class>/<name>, with numbers that two classes share."""
    out = tmp_path_factory.mktemp("shards")
    names = [f"train/{folder}/{folder}_{n}.JPEG" for folder in ("n01440764", "n01443537") for n in (1, 10026, 3)]
    names += [f"train/{folder}/{n}.jpg" for folder in ("cat", "dog") for n in (7, 8)]
    names += ["val/n01440764/val_1.JPEG"]
    images = [(name, name.split("/")[0], name.split("/")[1], jpeg(n, 16, 16)) for n, name in enumerate(names)]
    pack_into(out, Listed(images), samples_per_shard=4)
    return ShardSet(out, "train")


def chosen(shard_set: ShardSet, folder: Path, text: str) -> list[str]:
    path = folder / "list.txt"
    path.write_text(text)
    keys = shard_set.keys()
    return [keys[index].partition("-")[2] for index in listed(path, shard_set)]


def test_keys_are_those_of_each_sample_in_order(shard_set: ShardSet) -> None:
    expected = [shard_set.key(shard, n) for shard, count in enumerate(shard_set.counts) for n in range(count)]
    assert shard_set.keys() == expected
    assert len(expected) == 10


def test_a_published_list_names_files_without_their_folders(shard_set: ShardSet, tmp_path: Path) -> None:
    found = chosen(shard_set, tmp_path, "n01443537_3.JPEG\nn01440764_10026.JPEG\n\nn01440764_1.JPEG\n")
    assert [name.split("_", 2)[2] for name in found] == ["n01440764_1", "n01440764_10026", "n01443537_3"]


def test_a_path_tells_apart_what_a_name_does_not(shard_set: ShardSet, tmp_path: Path) -> None:
    assert chosen(shard_set, tmp_path, "dog/7.jpg\ntrain/cat/8.jpg") == ["train_cat_8", "train_dog_7"]
    with pytest.raises(ArtifactError, match=r"1 names that fit several samples of .*: 7.jpg \(line 2\)") as caught:
        chosen(shard_set, tmp_path, "cat/8.jpg\n7.jpg")
    assert "with their folder" in str(caught.value)


def test_strangers_in_a_list_are_counted_and_named(shard_set: ShardSet, tmp_path: Path) -> None:
    text = "n01440764_1.JPEG\n" + "".join(f"n09999999_{n}.JPEG\n" for n in range(5))
    with pytest.raises(ArtifactError) as caught:
        chosen(shard_set, tmp_path, text)
    said = str(caught.value)
    assert "names 5 of 6 that are no samples of" in said
    assert "split train: n09999999_0.JPEG (line 2), n09999999_1.JPEG (line 3), n09999999_2.JPEG (line 4) and 2" in said
    with pytest.raises(ArtifactError, match="val_1"):  # of the other split
        chosen(shard_set, tmp_path, "val_1.JPEG")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_list_names_nothing(shard_set: ShardSet, tmp_path: Path, text: str) -> None:
    with pytest.raises(ArtifactError, match="names no sample"):
        chosen(shard_set, tmp_path, text)


def test_a_list_that_is_no_text_is_a_sentence(shard_set: ShardSet, tmp_path: Path) -> None:
    (tmp_path / "list.npy").write_bytes(b"\x93NUMPY\xff")
    for path in (tmp_path / "list.npy", tmp_path / "nothing.txt"):
        with pytest.raises(ArtifactError, match="cannot be read"):
            listed(path, shard_set)
