"""Checkpoints: how long training stands still, what hashing costs, how long a restore takes; beside torch's own saves.

    python -m tests.benchmarks.checkpoint --json FILE [--gigabytes 1]

One process, one training state, a real disk; what is compared takes turns. See README.md here for what each row means.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import peers
from tests.benchmarks.rounds import Row, Side, commit, save, table

PAIRS = (
    ("checkpoint_stall_vs_save", "save_behind", "save", "≤ 0.10", "ours / whole save"),
    ("checkpoint_save_vs_unhashed", "save", "save_unhashed", "≤ 1.20", "with / without hashes"),
    ("checkpoint_save_vs_torch", "save", "torch_saves", "", "ours / torch's save"),
    ("checkpoint_stall_vs_torch", "save_behind", "torch_saves_behind", "", "ours / torch's async_save"),
    ("checkpoint_restore_vs_save", "load", "save", "", "verify and restore / save"),
)


def rows_of(side: Side, out: Path, rounds: int, only: list[str]) -> Iterator[Row]:
    """Each pair in turn, after a warm-up; times in ms on the clock."""
    for name, ours, peer, asked, of in PAIRS:
        if name not in only:
            continue
        shutil.rmtree(out, ignore_errors=True)
        side.run("save", out=str(out))
        found = []
        for number in range(rounds + 1):
            order = (ours, peer) if number % 2 else (peer, ours)
            seconds = {}
            for job in order:
                os.sync()
                seconds[job] = side.run(job, out=str(out))["value"]["seconds"]
            found.append((seconds[ours] * 1e3, seconds[peer] * 1e3))
        ratios = [a / b for a, b in found[1:]]
        yield Row(
            name=name,
            ours=median(a for a, _ in found[1:]),
            peer=median(b for _, b in found[1:]),
            ratio=median(ratios),
            low=min(ratios),
            high=max(ratios),
            unit="ms",
            asked=asked,
            of=of,
        )


def memory(side: Side, out: Path) -> Row:
    """What the most memory that saves in the background take is, of the size of the state."""
    rest = side.run("size")
    before, size = rest["peak"], rest["value"]
    for _ in range(3):
        after = side.run("save_behind", out=str(out))["peak"]
    grown = (after - before) / size
    return Row(
        name="checkpoint_memory",
        ours=(after - before) / 1e6,
        peer=size / 1e6,
        ratio=grown,
        low=grown,
        high=grown,
        unit="MB",
        asked="≤ 1.10",
        of="grown / state",
    )


def main() -> None:
    """Measure, print a table, write a file."""
    names = [*(pair[0] for pair in PAIRS), "checkpoint_memory"]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.checkpoint", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file to write the figures to")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the state")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count, after one that does not")
    parser.add_argument(
        "--only", nargs="+", choices=[*names, "checkpoint_memory"], default=[*names, "checkpoint_memory"]
    )
    parser.add_argument("--work", type=Path, help="folder on the disk to measure; by default one for temporary files")
    given = parser.parse_args()
    size = int(given.gigabytes * 1e9)
    rows: list[Row] = []
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(dir=given.work, prefix="bench-") as work:
        out = Path(work) / "run"
        if "checkpoint_memory" in given.only:
            with Side("checkpoints", cores, STATE_BYTES=str(size)) as side:
                rows.append(memory(side, out))
        with Side("checkpoints", cores, STATE_BYTES=str(size)) as side:
            for row in rows_of(side, out, given.rounds, given.only):
                rows.append(row)
                print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    versions = {"ours": {"commit": commit(), **peers.versions_of(sys.executable, "torch", "numpy", "numba")}}
    save(given.json, rows, versions, rounds=given.rounds, gigabytes=given.gigabytes)
    print(table(rows))


if __name__ == "__main__":
    main()
