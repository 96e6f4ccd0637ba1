"""Classes that differ between training, test and a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_shards.stream import ShardSet
from pipeline.errors import ArtifactError
from pipeline.evaluation.labels.classes import check, rows_of
from tests.data_shards.pictures import Listed, jpeg, pack_into


def sets(out: Path, train: str, test: str) -> tuple[ShardSet, ShardSet]:
    """Shards with an image of the class of each letter."""
    splits = [("train", letter) for letter in train] + [("test", letter) for letter in test]
    images = [(f"{n}.jpg", split, letter, jpeg(n, 16, 16)) for n, (split, letter) in enumerate(splits)]
    pack_into(out, Listed(images))
    return ShardSet(out, "train"), ShardSet(out, "test")


def test_with_the_same_classes_nothing_is_said(tmp_path: Path) -> None:
    train, test = sets(tmp_path, "abab", "ab")
    assert check(train, train.labels(), test) == []


def test_a_class_of_the_test_that_cannot_be_learnt_is_an_error(tmp_path: Path) -> None:
    train, test = sets(tmp_path, "aab", "abccd")
    with pytest.raises(ArtifactError) as caught:
        check(train, train.labels(), test)
    assert "split test has 3 images of class c, d, of which there is no label to learn from in split train" in str(
        caught.value
    )


def test_so_is_one_of_which_no_label_was_chosen(tmp_path: Path) -> None:
    train, test = sets(tmp_path, "aab", "ab")
    with pytest.raises(ArtifactError, match="1 images of class b"):
        check(train, train.labels()[:2], test)


def test_a_class_without_an_image_in_the_test_or_at_all_is_doubtful(tmp_path: Path) -> None:
    train, test = sets(tmp_path, "abc", "ab")
    assert check(train, train.labels(), test) == ["class c has no image in split test, so its accuracy stays unknown"]
    assert check(train, train.labels()[:2], test) == ["class c has no image at all; the network will never choose it"]


def test_rows_of_a_classifier_are_found_by_name() -> None:
    assert rows_of(["owl", "cat"], ["cat", "dog", "owl"], "runs/x") == (2, 0)
    assert rows_of(["crane", "crane"], ["crane", "crane"], "runs/x") == (0, 1), "the same list needs no search"


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ([], "runs/x: has no classifier"),
        (["cat", "dog"], "does not know class owl among its 2 classes"),
        (["cat", "owl", "owl"], "has class owl more than once"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(known: list[str], says: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        rows_of(["owl", "cat"], known, "runs/x")
    assert says in str(caught.value)
    assert "classifier=new" in str(caught.value)
