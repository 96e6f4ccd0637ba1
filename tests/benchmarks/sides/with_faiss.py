"""faiss' flat search by inner product; its index holds normalised vectors before the clock starts."""

from __future__ import annotations

import os
from typing import Any

import faiss
import numpy as np

from tests.benchmarks.side import serve
from tests.benchmarks.sides.vectors import vectors

faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
_given: dict[tuple[int, int, int], tuple[Any, Any]] = {}


def load(bank: int, queries: int, width: int) -> None:
    """Make the vectors and the index."""
    rows, asked = vectors(bank, queries, width)
    index = faiss.IndexFlatIP(width)
    index.add(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    _given[bank, queries, width] = index, asked / np.linalg.norm(asked, axis=1, keepdims=True)


def search(bank: int, queries: int, width: int, k: int, out: str) -> None:
    """The k nearest of every query; what was found is written to `out`."""
    index, asked = _given[bank, queries, width]
    np.save(f"{out}/faiss.npy", index.search(asked, k)[1])


serve(load=load, search=search)
