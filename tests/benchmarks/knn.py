"""Exact nearest neighbours beside faiss' flat search: 10,000 queries among 50,000 vectors of 512 numbers.

    python -m tests.benchmarks.knn --json FILE [--rounds 5] [--k 20 200]

Both have the same cores and threads and find the same neighbours, which is checked in fp64: where the two lists of a
query differ, the similarities of what differs are equal to within the rounding of fp32. Our time includes normalising
bank and queries, faiss has its index ready.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import peers
from tests.benchmarks.rounds import Job, Row, Side, commit, race, rows_of, save, table
from tests.benchmarks.sides.vectors import vectors

ROUNDING = 1e-6  # of a cosine in fp32
_THREADS = ("OMP", "OPENBLAS", "MKL")


def differences(size: dict[str, int], folder: Path) -> tuple[int, float]:
    """Queries whose neighbours differ, and by how much the cosines at the same place of both lists differ at most."""
    bank, queries = (found.astype(np.float64) for found in vectors(**size))
    ours, theirs = (np.load(folder / f"{side}.npy") for side in ("ours", "faiss"))
    different = np.flatnonzero((np.sort(ours, 1) != np.sort(theirs, 1)).any(1))
    gap = 0.0
    for query in np.flatnonzero((ours != theirs).any(1)):
        mine, others = (
            bank[found[query]] @ queries[query] / np.linalg.norm(bank[found[query]], axis=1) for found in (ours, theirs)
        )
        gap = max(gap, float(np.abs(mine - others).max() / np.linalg.norm(queries[query])))
    return len(different), gap


def measure(size: dict[str, int], k: int, sides: tuple[Side, Side], rounds: int) -> list[Row]:
    """Both take turns; the neighbours of the warm-up are compared."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(side=side, name="search", arguments={**size, "k": k, "out": folder}) for side in sides]

        def check() -> None:
            different, gap = differences(size, Path(folder))
            print(f"k {k}: {different} lists differ, by cosines {gap:.1e} apart at most", file=sys.stderr, flush=True)
            if gap > ROUNDING:
                raise SystemExit(f"k {k}: other neighbours, whose cosines differ by {gap:.1e}")

        costs = race(jobs[0], jobs[1], rounds, check)
    asked = "≤ 1.5"
    return [
        replace(row, unit=row.unit.replace("an image", "a query"))
        for row in rows_of(f"knn_{k}_vs_faiss", costs, size["queries"], asked, slower=True)
    ]


def main() -> None:
    """Measure, print the table, write a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.knn", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file to write the figures to")
    parser.add_argument("--rounds", type=int, default=5, help="searches of each side")
    parser.add_argument("--k", type=int, nargs="+", default=[20, 200], help="neighbours")
    parser.add_argument("--bank", type=int, default=50_000, help="vectors that are searched")
    parser.add_argument("--queries", type=int, default=10_000, help="vectors that are asked about")
    parser.add_argument("--width", type=int, default=512, help="numbers of a vector")
    given = parser.parse_args()
    size = {"bank": given.bank, "queries": given.queries, "width": given.width}
    cores = os.sched_getaffinity(0)
    threads = {f"{library}_NUM_THREADS": str(len(cores)) for library in _THREADS}
    rows: list[Row] = []
    with Side("our_knn", cores, **threads) as ours, Side("with_faiss", cores, **threads) as faiss:
        for side in (ours, faiss):
            side.run("load", **size)
        for k in given.k:
            rows += measure(size, k, (ours, faiss), given.rounds)
    versions = {
        "ours": {"commit": commit(), **peers.versions_of(sys.executable, "torch")},
        "faiss": peers.versions_of(sys.executable, "faiss-cpu"),
    }
    save(given.json, rows, versions, rounds=given.rounds, threads=len(cores), **size)
    print(table(rows))


if __name__ == "__main__":
    main()
