"""Classes of a test and of a classifier, matched by name or number."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import ArtifactError
from pipeline.evaluation.labels.asked_classes import AskedClasses

KNOWN = ("n01", "n02", "n03", "n04", "n05")


def test_equal_lists_are_left_as_they_are_whatever_they_hold() -> None:
    names = ("crane", "crane", "0")
    asked = AskedClasses.of(names, names, where="x")
    assert asked.names == names
    assert asked.columns.tolist() == asked.places.tolist() == [0, 1, 2]


def test_a_test_of_some_classes_chooses_among_them_alone() -> None:
    asked = AskedClasses.of(("n04", "n02"), KNOWN, where="x")
    assert asked.names == ("n02", "n04")
    assert asked.columns.tolist() == [1, 3]
    assert asked.labels(torch.tensor([0, 1, -1, 0])).tolist() == [1, 0, -1, 1]


def test_or_among_all_that_the_network_knows() -> None:
    asked = AskedClasses.of(("n04", "n02"), KNOWN, among="all", where="x")
    assert asked.names == KNOWN
    assert asked.labels(torch.tensor([0, 1])).tolist() == [3, 1]


def test_folders_that_are_numbers_count_through_the_classes() -> None:
    folders = tuple(sorted(map(str, range(12))))  # as a file system lists them: 0, 1, 10, 11, 2 ...
    known = tuple(f"class {letter}" for letter in "abcdefghijkl")
    asked = AskedClasses.of(folders, known, where="x")
    assert [asked.names[place] for place in asked.places.tolist()] == [known[int(name)] for name in folders]


def test_numbers_are_names_where_the_network_calls_its_classes_so() -> None:
    asked = AskedClasses.of(("2", "0"), ("2", "1", "0"), where="x")
    assert asked.columns.tolist() == [0, 2]
    assert asked.places.tolist() == [0, 1]


def test_strangers_are_refused_or_left_out() -> None:
    with pytest.raises(ArtifactError, match="has 1 of 3 classes that the checkpoint does not know: unicorn"):
        AskedClasses.of(("n01", "unicorn", "n02"), KNOWN, where="x")
    asked = AskedClasses.of(("n01", "unicorn", "n02"), KNOWN, strangers="leave_out", where="x")
    assert asked.names == ("n01", "n02")
    assert asked.labels(torch.tensor([0, 1, 2])).tolist() == [0, -1, 1]


@pytest.mark.parametrize("strangers", ["refuse", "leave_out"])
def test_lists_that_have_nothing_in_common_are_refused(strangers: str) -> None:
    with pytest.raises(ArtifactError, match="no class that the checkpoint knows: it has cat, dog, the checkpoint n01"):
        AskedClasses.of(("cat", "dog"), KNOWN, strangers=strangers, where="x")  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="no class that the checkpoint knows"):
        AskedClasses.of(("0", "5"), KNOWN, where="x")  # there is no class number 5


def test_a_name_of_two_classes_means_neither() -> None:
    with pytest.raises(ArtifactError, match="several classes of that name"):
        AskedClasses.of(("crane",), ("crane", "crane", "owl"), where="x")
