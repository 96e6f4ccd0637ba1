"""A training step beside lightly's, where its time goes, and what recomputation and sharding save.

    python -m tests.benchmarks.step --json FILE

Same network, weights, batch and crops, same run, same two cores, taking turns, warm-up excluded; see README.md here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import peers, state
from tests.benchmarks.rounds import Job, Row, Side, SideError, commit, race, rows_of, save, table

BACKBONE = ("backbone forward", "backbone backward")
"""The parts of a step that belong to the backbone; see sides/parts.py."""
TEN_BILLION = {"size": "seer_10b", "prototypes": 16000, "hidden": (8192, 8192), "dim": 256}


@dataclass
class Bench:
    """What the rows share."""

    work: Path
    cores: tuple[int, ...]
    rounds: int
    batch: int
    share_batch: int
    recompute_batch: int
    crops: list[list[int]]
    size: str
    large: str
    prototypes: int
    profile: bool

    def side(self, stack: ExitStack, name: str, python: Path | str = sys.executable) -> Side:
        """A process of its own that uses all cores of the race, which allocates and computes as ours is started."""
        threads = {f"{library}_NUM_THREADS": str(len(self.cores)) for library in ("OMP", "MKL", "OPENBLAS")}
        return stack.enter_context(Side(name, self.cores, python, **threads))

    def start(self, side: Side, batch: int, size: str, **settings: Any) -> dict[str, Any]:
        """Begin our training in a process."""
        return side.run(
            "start",
            batch=batch,
            crops=self.crops,
            size=size,
            prototypes=self.prototypes,
            **settings,
        )

    def race(self, name: str, ours: Side, peer: Side, batch: int, asked: str, slower: bool = False) -> list[Row]:
        """Two steps of each, in turn."""
        jobs = [Job(side=side, name="steps", arguments={"count": 2}) for side in (ours, peer)]
        costs = race(jobs[0], jobs[1], self.rounds, lambda: None)
        return rows_of(name, costs, 2 * batch, asked, slower)


def lightly(bench: Bench) -> Iterator[Row]:
    """Our step beside lightly's, as it comes and with what makes ours fast."""
    try:
        python = peers.python_of("lightly")
    except subprocess.CalledProcessError as error:
        print(f"lightly is not measured: {error}", file=sys.stderr)
        return
    for kind, asked in (("stock", "≥ 6"), ("tuned", "≥ 1.15")):
        with ExitStack() as stack:
            ours, theirs = bench.side(stack, "our_step"), bench.side(stack, "with_lightly_step", python)
            bench.start(ours, bench.batch, bench.size)
            shared = str(bench.work / "shared.pt")
            seen = ours.run("save", path=shared)["value"]
            same = {"path": shared, "size": bench.size, "prototypes": bench.prototypes, "threads": len(bench.cores)}
            found = theirs.run("start", tuned=kind == "tuned", **same)["value"]
            if abs(found / seen - 1) > 1e-3:
                raise SideError(f"the sides do not compute alike: mean features {seen} and {found}")
            yield from bench.race(f"step_vs_lightly_{kind}", ours, theirs, bench.batch, asked)


def share(bench: Bench) -> Iterator[Row]:
    """How much of a step is not forward and backward of the backbone."""
    with ExitStack() as stack:
        side = bench.side(stack, "our_step")
        bench.start(side, bench.share_batch, bench.size)
        steps: list[dict[str, float]] = side.run("parts", count=2 * bench.rounds)["value"]
        shares = [100 * (1 - sum(step[part] for part in BACKBONE) / sum(step.values())) for step in steps]
        if bench.profile:
            print(profile_of(steps), side.run("operators", rows=20)["value"], sep="\n\n", file=sys.stderr)
    yield Row(
        name="share_outside_backbone",
        ours=statistics.median(shares),
        peer=None,
        ratio=None,
        low=min(shares),
        high=max(shares),
        unit="% of a step's time",
        asked="≤ 8 %",
    )
    for part in steps[0]:
        milliseconds = [1e3 * step[part] for step in steps]
        yield Row(
            name=f"part: {part}",
            ours=statistics.median(milliseconds),
            peer=None,
            ratio=None,
            low=min(milliseconds),
            high=max(milliseconds),
            unit="ms of a step",
        )


def profile_of(steps: list[dict[str, float]]) -> str:
    """The parts of a step as a table: median milliseconds, and share of the median step."""
    whole = statistics.median(sum(step.values()) for step in steps)
    lines = ["| part | ms | share |", "|---|---:|---:|"]
    for part in steps[0]:
        seconds = statistics.median(step[part] for step in steps)
        lines.append(f"| {part} | {1e3 * seconds:.1f} | {seconds / whole:.1%} |")
    return "\n".join(lines)


def recompute(bench: Bench) -> Iterator[Row]:
    """Most memory of a process, and time of a step, with every block recomputed and with none."""
    batch = bench.recompute_batch
    with ExitStack() as stack:
        saving, plain = bench.side(stack, "our_step"), bench.side(stack, "our_step")
        bench.start(saving, batch, bench.large, recompute=True)
        bench.start(plain, batch, bench.large)
        yield from bench.race("recompute_time", saving, plain, batch, "", slower=True)
        peaks = [side.run("steps", count=1)["peak"] / 1e6 for side in (saving, plain)]
    yield Row(
        name="recompute_memory",
        ours=peaks[0],
        peer=peaks[1],
        ratio=peaks[0] / peaks[1],
        low=peaks[0],
        high=peaks[1],
        unit="MB, the most a process held, imports and weights included",
        of="with / without",
    )


def per_rank(bench: Bench) -> Iterator[Row]:
    """What a process holds of weights, gradients and momentum."""
    for world in (2, 4):
        yield state.measured(bench.size, world, bench.prototypes)
    for world in (8, 64, 512):
        yield state.reckoned(world=world, **TEN_BILLION)  # type: ignore[arg-type]


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "lightly": lightly,
    "share": share,
    "recompute": recompute,
    "state": per_rank,
}


def main() -> None:
    """Measure, print a table, write a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.step", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file to write the figures to")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not")
    parser.add_argument("--batch", type=int, default=32, help="images in a step beside lightly")
    parser.add_argument("--share-batch", type=int, default=64, help="images in the step whose parts are measured")
    parser.add_argument("--recompute-batch", type=int, default=8, help="images in a step with recomputation")
    parser.add_argument("--crops", nargs="+", default=["2x160", "4x96"], help="number and side of an image's crops")
    parser.add_argument("--size", default="regnety_400mf", help="network")
    parser.add_argument("--large", default="regnety_4gf", help="network that is recomputed")
    parser.add_argument("--prototypes", type=int, default=3000)
    parser.add_argument("--profile", action="store_true", help="say by part and by operator where a step's time goes")
    given = parser.parse_args()
    crops = [[int(part) for part in reversed(kind.split("x"))] for kind in given.crops]
    cores = tuple(sorted(os.sched_getaffinity(0))[-2:])
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        bench = Bench(
            Path(work),
            cores,
            given.rounds,
            given.batch,
            given.share_batch,
            given.recompute_batch,
            crops,
            given.size,
            given.large,
            given.prototypes,
            given.profile,
        )
        for name in given.rows:
            for row in ROWS[name](bench):
                rows.append(row)
                print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    versions = {
        "ours": {"commit": commit(), **peers.versions_of(sys.executable, "torch", "pytorch-lightning", "pycls")}
    }
    if "lightly" in given.rows:
        versions["lightly"] = peers.versions_of(peers.python_of("lightly"), "lightly", "torch")
    settings = {key: value for key, value in vars(given).items() if key != "json"}
    save(given.json, rows, versions, settings=settings)
    print(table(rows))


if __name__ == "__main__":
    main()
