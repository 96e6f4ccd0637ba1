"""Choices of rows: balanced, seeded, and none of a class's business with another."""

from __future__ import annotations

import torch

from pipeline.evaluation.subsets import held_out, shots

LABELS = torch.tensor([0] * 50 + [1] * 20 + [2] * 3 + [3] + [-1] * 10)[torch.randperm(84, generator=torch.Generator())]


def of_class(chosen: torch.Tensor) -> list[int]:
    return torch.bincount(LABELS[chosen], minlength=4).tolist()


def test_a_share_of_each_class_is_held_out_and_of_the_unlabelled_nobody() -> None:
    held = held_out(LABELS, 0.1, 0)
    assert of_class(held) == [5, 2, 0, 0]
    assert not held[LABELS < 0].any()
    assert not torch.equal(held, held_out(LABELS, 0.1, 1))
    assert torch.equal(held, held_out(LABELS, 0.1, 0))


def test_no_class_is_held_out_whole_and_somebody_always_is() -> None:
    assert of_class(held_out(LABELS, 0.99, 0)) == [49, 19, 2, 0]
    assert of_class(held_out(LABELS, 0.001, 0)) == [1, 0, 0, 0]


def test_so_many_shots_of_each_class_as_far_as_it_has_them() -> None:
    few, more = shots(LABELS, 2, 0), shots(LABELS, 5, 0)
    assert of_class(few) == [2, 2, 2, 1]
    assert of_class(more) == [5, 5, 3, 1]
    assert set(few.tolist()) < set(more.tolist())
    assert few.tolist() == sorted(few.tolist())
    assert few.tolist() != shots(LABELS, 2, 1).tolist()


def test_the_choice_in_a_class_does_not_depend_on_the_others() -> None:
    without = torch.where(LABELS == 0, -1, LABELS)
    assert shots(without, 5, 3).tolist() == [row for row in shots(LABELS, 5, 3).tolist() if LABELS[row] > 0]
