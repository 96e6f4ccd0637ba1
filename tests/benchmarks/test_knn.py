"""The benchmark of the search runs, small, and would notice other neighbours."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import knn
from tests.benchmarks.sides.vectors import vectors

SIZE = {"bank": 600, "queries": 50, "width": 16}


@pytest.mark.slow
def test_it_measures_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["knn", "--json", str(tmp_path / "found.json"), "--rounds", "1", "--k", "5"]
    words += [word for name, value in SIZE.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", words)
    knn.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["knn_5_vs_faiss", "knn_5_vs_faiss_wall"]
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in found["rows"])


def test_other_neighbours_are_noticed_and_rounding_is_not(tmp_path: Path) -> None:
    bank, queries = vectors(**SIZE)
    bank, queries = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (bank, queries))
    order = np.argsort(-(queries.astype(float) @ bank.T.astype(float)), axis=1)[:, :6]
    np.save(tmp_path / "faiss.npy", order[:, :5])
    np.save(tmp_path / "ours.npy", order[:, :5])
    assert knn.differences(SIZE, tmp_path) == (0, 0.0)
    worse = order[:, :5].copy()
    worse[3, 4] = order[3, 5]
    np.save(tmp_path / "ours.npy", worse)
    lists, gap = knn.differences(SIZE, tmp_path)
    assert lists == 1
    assert gap > knn.ROUNDING
