"""Our exact search, the bank in chunks of a file of features each."""

from __future__ import annotations

import os

import numpy as np
import torch

from pipeline.evaluation.features import Features
from pipeline.evaluation.search.knn import in_chunks
from pipeline.evaluation.search.neighbours import nearest
from tests.benchmarks.side import serve
from tests.benchmarks.sides.vectors import vectors

torch.set_num_threads(len(os.sched_getaffinity(0)))
_given: dict[tuple[int, int, int], tuple[Features, torch.Tensor]] = {}


def load(bank: int, queries: int, width: int) -> None:
    """Make the vectors, outside the clock."""
    rows, asked = (torch.from_numpy(found) for found in vectors(bank, queries, width))
    _given[bank, queries, width] = Features(rows, torch.zeros(bank, dtype=torch.int64), torch.arange(bank)), asked


def search(bank: int, queries: int, width: int, k: int, out: str) -> None:
    """From vectors of any length to the k nearest of every query; what was found is written to `out`."""
    rows, asked = _given[bank, queries, width]
    found = nearest(asked, in_chunks(rows), k)
    np.save(f"{out}/ours.npy", found.indices.numpy())


serve(load=load, search=search)
