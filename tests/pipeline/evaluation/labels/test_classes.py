"""Classes that differ between training, test and a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ArtifactError
from pipeline.evaluation.labels import classes
from pipeline.evaluation.labels.classes import rows_of

NAMES = ("a", "b", "c", "d")


def numbers(letters: str) -> NDArray[np.int64]:
    """Labels by their letters; a dot is none."""
    return np.array(["abcd".find(letter) for letter in letters], np.int64)


def check(learnt: str, asked: str, names: str = "abcd", *, refuse: bool = True) -> list[str]:
    return classes.check(tuple(names), numbers(learnt), numbers(asked), "runs/x", refuse=refuse)


def test_with_the_same_classes_nothing_is_said() -> None:
    assert check("ab.ab", "ab.", names="ab") == []


def test_a_class_of_the_test_that_cannot_be_learnt_is_an_error_or_a_doubt() -> None:
    with pytest.raises(ArtifactError) as caught:
        check("aab.", "abccd")
    assert "split test has 3 images of class c, d, of which there is no label to learn from in split train" in str(
        caught.value
    )
    assert check("aab.", "abccd", refuse=False) == [
        "class c, d has no label in split train, so its 3 images of split test count as wrong"
    ]


def test_a_class_without_an_image_in_the_test_or_at_all_is_doubtful() -> None:
    assert check("abc", "ab", names="abc") == ["class c has no image in split test, so its accuracy stays unknown"]
    assert check("ab", "ab", names="abc") == ["class c has no image at all and is never chosen"]
    assert check("d", "d") == ["class a, b, c has no image at all and is never chosen"]


def test_labels_that_go_beyond_the_names_are_classes_too() -> None:
    with pytest.raises(ArtifactError, match="2 images of class 2, 3, of which there is no label to learn from"):
        classes.check(("0", "1"), numbers("ab"), numbers("abcd"), "tars")


@pytest.mark.parametrize("refuse", [True, False])
def test_a_split_without_labels_is_named(refuse: bool) -> None:
    with pytest.raises(ArtifactError, match="has no labelled sample in split test"):
        check("ab", "..", refuse=refuse)
    with pytest.raises(ArtifactError, match="has no labelled sample in split train"):
        check(".", "ab", refuse=refuse)


def test_rows_of_a_classifier_are_found_by_name() -> None:
    assert rows_of(["owl", "cat"], ["cat", "dog", "owl"], "shards", "runs/x") == (2, 0)
    same = ["crane", "crane"]
    assert rows_of(same, same, "shards", "runs/x") == (0, 1), "the same list needs no search"


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ([], "runs/x: has no classifier"),
        (["cat", "dog"], "shards: has 1 of 2 classes that the checkpoint does not know: owl"),
        (["cat", "owl", "owl"], "shards: asks for owl, and the checkpoint has several classes of that name"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(known: list[str], says: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        rows_of(["owl", "cat"], known, "shards", "runs/x")
    assert says in str(caught.value)


def test_a_class_that_a_classifier_does_not_know_asks_for_a_new_one() -> None:
    with pytest.raises(ArtifactError, match="classifier=new"):
        rows_of(["owl"], ["cat"], "shards", "runs/x")
