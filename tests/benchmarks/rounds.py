"""Measures two sides fairly: each a process of its own, pinned to the same core, taking turns.

- A side imports and warms up outside the clock; a round is one job of each side, one after the other.
- A ratio is taken within a round, so that what slows the machine slows both. Medians, with the lowest and highest.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR", "VECLIB")


class SideError(Exception):
    """A side could not do its job."""


class Side:
    """A process that runs jobs of the script `sides/<name>.py`, under `python`, on one core, or on some."""

    def __init__(
        self, name: str, core: int | Iterable[int], python: Path | str = sys.executable, **environment: str
    ) -> None:
        self.name = name
        cores = {core} if isinstance(core, int) else set(core)
        threads = {f"{library}_NUM_THREADS": "1" for library in _THREADS}
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "tests" / "benchmarks" / "sides" / f"{name}.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": str(ROOT), **environment},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self._answer()

    def run(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Run a job; gives its `wall` and `processor` seconds, the `peak` bytes so far and its `value`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"job": job, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._answer())
        if "error" in answer:
            raise SideError(f"{self.name}: {answer['error']}")
        return answer

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SideError(f"{self.name} ended with status {self._process.wait(timeout=60)}")
        return line


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a side is to do in each round. With an `out`, it is an empty place before every round."""

    side: Side
    name: str
    arguments: dict[str, Any]
    out: Path | None = None

    def run(self) -> dict[str, Any]:
        """Run it once, with the disk at rest. What it wrote stays until the next time."""
        if self.out is not None:
            shutil.rmtree(self.out, ignore_errors=True)
        os.sync()
        arguments = self.arguments if self.out is None else {**self.arguments, "out": str(self.out)}
        return self.side.run(self.name, **arguments)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: medians of both sides in `unit`, and of their ratio, with its lowest and highest."""

    name: str
    ours: float
    peer: float | None
    ratio: float | None
    low: float
    high: float
    unit: str
    asked: str = ""
    of: str = "peer / ours"

    @property
    def met(self) -> bool | None:
        """Whether the median is as asked; None where nothing is."""
        if not self.asked:
            return None
        sign, bound = self.asked.split()[:2]
        value = self.ours if self.ratio is None else self.ratio
        return value >= float(bound) if sign == "≥" else value <= float(bound)


def race(ours: Job, peer: Job, rounds: int, check: Callable[[], None]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Both jobs, `rounds` times in turn, after a warm-up whose outputs are looked at by `check`."""
    ours.run(), peer.run()
    check()
    found = []
    for number in range(rounds):
        first, second = (ours, peer) if number % 2 == 0 else (peer, ours)
        costs = {id(first): first.run(), id(second): second.run()}
        found.append((costs[id(ours)], costs[id(peer)]))
    for job in (ours, peer):
        if job.out is not None:
            shutil.rmtree(job.out, ignore_errors=True)
    return found


def rows_of(
    name: str, costs: list[tuple[dict[str, Any], dict[str, Any]]], images: int, asked: str, slower: bool = False
) -> list[Row]:
    """Two rows of a race: time of a core and time on the clock, in µs an image.

    The ratio is that of the peer to ours; with `slower`, that of ours to the peer.
    """
    rows = []
    for kind, what in (("processor", "of a core"), ("wall", "on the clock")):
        pairs = [(ours[kind] / images * 1e6, peer[kind] / images * 1e6) for ours, peer in costs]
        ratios = [ours / peer if slower else peer / ours for ours, peer in pairs]
        rows.append(
            Row(
                name=name if kind == "processor" else f"{name}_wall",
                ours=statistics.median(ours for ours, _ in pairs),
                peer=statistics.median(peer for _, peer in pairs),
                ratio=statistics.median(ratios),
                low=min(ratios),
                high=max(ratios),
                unit=f"µs {what} an image",
                asked=asked,
                of="ours / peer" if slower else "peer / ours",
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| row | ours | peer | ratio | lowest … highest | asked | |", "|---|---:|---:|---:|---:|---|---|"]
    for row in rows:
        peer = "" if row.peer is None else f"{row.peer:.0f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} ({row.of})"
        met = {None: "", True: "met", False: "**not met**"}[row.met]
        lines.append(
            f"| `{row.name}` | {row.ours:.0f} {row.unit} | {peer} | {ratio} | {row.low:.2f} … {row.high:.2f} "
            f"| {row.asked} | {met} |"
        )
    return "\n".join(lines)


def save(path: Path, rows: list[Row], versions: dict[str, dict[str, str]], **notes: Any) -> None:
    """Write machine, versions and rows as JSON."""
    content = {"machine": machine(), "versions": versions, **notes, "rows": [{**asdict(r), "met": r.met} for r in rows]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def commit() -> str:
    """The commit that is measured; empty outside a clone."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(": ")[2] if models else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
