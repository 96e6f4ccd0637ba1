"""Seeded choices of rows, class by class: what is held out for a choice, and the few shots of a low-shot test.

A class's rows are permuted by random numbers of its own, keyed by the seed and its number, so a choice does not depend
on the other classes, and more shots of one seed hold the fewer ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from numpy.random import Generator, Philox
from torch import Tensor


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which rows are kept from training (N), bool: about `share` of each class, rounded, and never a whole class.

    Where that would be nobody, of all classes, one row of the largest is held out. Unlabelled rows never are.
    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    largest = labels.new_empty(0)
    for members in _shuffled(labels, seed):
        held[members[: min(round(share * len(members)), len(members) - 1)]] = True
        largest = members if len(members) > len(largest) else largest
    if not held.any() and len(largest) > 1:
        held[largest[0]] = True
    return held


def shots(labels: Tensor, count: int, seed: int) -> Tensor:
    """Rows, in order, of `count` samples of each class, or of all that a class has where it has fewer."""
    chosen = [members[:count] for members in _shuffled(labels, seed)]
    return torch.cat(chosen).sort().values if chosen else labels.new_empty(0)


def _shuffled(labels: Tensor, seed: int) -> Iterator[Tensor]:
    """The rows of each class that has some, in a random order of its own."""
    for label in torch.unique(labels[labels >= 0]).tolist():
        members = (labels == label).nonzero().squeeze(1)
        draw = Generator(Philox(key=[seed, label]))
        yield members[torch.from_numpy(draw.permutation(len(members)))]
