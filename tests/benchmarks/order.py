"""The order of a billion samples: to open, to seek, to find one sample; beside the planning of other loaders.

    python -m tests.benchmarks.order --json FILE

The set is virtual: 10,000 samples in each of 100,000 shards. Peers plan sets of 10^6 and 10^7; what they would need for
10^9 is extrapolated from the larger, in proportion, and named so. See README.md here for what each row means.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import peers, ranks
from tests.benchmarks.rounds import Row, Side, commit, save, table

BILLION, EACH = 1_000_000_000, 10_000
PACKAGES = {"litdata": "litdata", "streaming": "mosaicml-streaming"}
WORLD, BATCH = 8, 1024
CACHES = (16, 64, 256)  # shards a node holds
RUNS = (  # how the positions are shared, ranks, lanes, batch
    ("by lane", 4096, 128, 65_536),
    ("every world-th", 4096, 128, 65_536),
    ("in slices", 4096, 128, 65_536),
    ("by lane", 4096, 1024, 65_536),
    ("by lane", 4096, 4096, 65_536),
    ("by lane", 4096, 4096, 8_192),
    ("by lane", 3968, 128, 63_488),  # 16 nodes of 8 are gone, and no number divides another
    ("every world-th", 3968, 128, 63_488),
    ("in slices", 3968, 128, 63_488),
)


def planned(samples: int) -> dict[str, int]:
    """A seek into the middle of a set of so many samples."""
    middle = samples // 2 // BATCH * BATCH
    return {"samples": samples, "shards": samples // EACH, "position": middle, "batch": BATCH, "world": WORLD}


def own(core: int, rounds: int) -> Iterator[Row]:
    """Our figures at a billion samples, every round in a new process."""
    cores, times, peaks, ordered = [], [], [], []
    for _ in range(rounds):
        with Side("our_order", core) as side:
            imported = side.run("nothing")["peak"]
            found = side.run("seek", **planned(BILLION))
            cores.append(found["processor"] * 1e6)
            times.append(found["wall"] * 1e6)
            peaks.append((found["peak"] - imported) / 1e6)
            arguments = {"position": BILLION // 3, "count": 1 << 20, "at_once": 1 << 16}
            side.run("order", **{**arguments, "count": 1 << 16})
            ordered.append(side.run("order", **arguments)["processor"] / (1 << 20) * 1e9)
    yield alone("order_1e9_open_and_seek", cores, "µs of a core", "≤ 50000 µs")
    yield alone("order_1e9_open_and_seek_wall", times, "µs on the clock", "≤ 50000 µs")
    yield alone("order_1e9_memory", peaks, "MB above the interpreter and NumPy", "≤ 20 MB")
    yield alone("order_1e9_sample", ordered, "ns of a core a sample", "≤ 300 ns")


def alone(name: str, values: list[float], unit: str, asked: str) -> Row:
    """A row without a peer."""
    return Row(
        name=name, ours=median(values), peer=None, ratio=None, low=min(values), high=max(values), unit=unit, asked=asked
    )


def beside(peer: str, core: int, sizes: list[int], rounds: int) -> Iterator[Row]:
    """A peer plans what we plan, in turn, both in new processes; then what a billion would cost it, extrapolated."""
    python = peers.python_of(peer)
    costs: dict[int, list[tuple[dict[str, float], dict[str, float]]]] = {}
    for size in sizes:
        for _ in range(rounds if size < max(sizes) else 1 + rounds // 3):  # the largest takes a minute
            ours = cost(Side("our_order", core), size)
            costs.setdefault(size, []).append((ours, cost(Side(f"with_{peer}_order", core, python), size)))
        for what, unit in (("seek", "µs on the clock"), ("memory", "MB above what is imported")):
            yield versus(f"order_{size:.0e}_{what}_vs_{peer}".replace("e+0", "e"), what, costs[size], unit)
    largest = max(sizes)
    billion = [cost(Side("our_order", core), BILLION) for _ in costs[largest]]
    scaled = [
        (ours, {what: value * BILLION / largest for what, value in theirs.items()})
        for ours, (_, theirs) in zip(billion, costs[largest], strict=True)
    ]
    for what, unit in (("seek", "µs on the clock"), ("memory", "MB above what is imported")):
        row = versus(f"order_1e9_{what}_vs_{peer}_extrapolated", what, scaled, unit)
        yield replace(row, of=f"peer, extrapolated from {largest:.0e}, / ours".replace("e+0", "e"))


def cost(side: Side, samples: int) -> dict[str, float]:
    """Time and memory of a seek in a process that has only imported before, which ends."""
    with side:
        imported = side.run("nothing")["peak"]
        found = side.run("seek", **planned(samples))
    return {"seek": found["wall"] * 1e6, "memory": max(found["peak"] - imported, 1 << 12) / 1e6}


def versus(name: str, what: str, costs: list[tuple[dict[str, float], dict[str, float]]], unit: str) -> Row:
    """A row of medians; the ratio is taken within each round."""
    ratios = [theirs[what] / ours[what] for ours, theirs in costs]
    return Row(
        name=name,
        ours=median(ours[what] for ours, _ in costs),
        peer=median(theirs[what] for _, theirs in costs),
        ratio=median(ratios),
        low=min(ratios),
        high=max(ratios),
        unit=unit,
    )


def readings(nodes: int) -> Iterator[ranks.Reading]:
    """What 4,096 ranks, 8 a node, read in an epoch of a billion samples."""
    counts = np.full(BILLION // EACH, EACH)
    for share, world, lanes, batch in RUNS:
        yield ranks.reading(share, counts, world, lanes, batch, per_node=8, nodes=nodes, caches=CACHES)


def main() -> None:
    """Measure, print the tables, write a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.order", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file to write the figures to")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each side")
    parser.add_argument(
        "--peers", nargs="*", choices=PACKAGES, default=list(PACKAGES), help="loaders to measure beside"
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[10**6, 10**7], help="samples that peers plan")
    parser.add_argument("--nodes", type=int, default=2, help="nodes looked at for the table of ranks; 0 for none")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="core that all sides run on")
    given = parser.parse_args()
    rows: list[Row] = []
    versions: dict[str, dict[str, str]] = {}
    versions["ours"] = {"commit": commit(), **peers.versions_of(sys.executable, "numpy")}
    missing: dict[str, str] = {}

    def show(found: Iterator[Row]) -> None:
        for row in found:
            rows.append(row)
            print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)

    show(own(given.core, given.rounds))
    for peer in given.peers:
        try:
            versions[peer] = peers.versions_of(peers.python_of(peer), PACKAGES[peer], "numpy")
        except subprocess.CalledProcessError as error:
            missing[peer] = f"could not be installed ({error})"
            print(f"{peer} {missing[peer]}", file=sys.stderr)
        else:
            show(beside(peer, given.core, sorted(given.sizes), given.rounds))
    found = list(readings(given.nodes)) if given.nodes else []
    notes: dict[str, Any] = {"rounds": given.rounds, "missing": missing, "ranks": [asdict(one) for one in found]}
    save(given.json, rows, versions, **notes)
    print(table(rows))
    if found:
        print("\n" + ranks.table(found, CACHES))


if __name__ == "__main__":
    main()
