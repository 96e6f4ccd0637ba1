"""kNN accuracy over seconds of training: our SwAV and lightly's, from the same weights on the same images of CIFAR-10.

    python -m tests.benchmarks.cifar10 --data CIFAR10_FOLDER_OR_ARCHIVE --json FILE --svg FILE --minutes 10

Each side has the same budget of time on the same two cores, its own loader, and its own optimizer with the settings
that it recommends. They take turns in slices, so that what slows the machine slows both; after each slice the same
code measures both, outside the budget. See README.md here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

from data_shards.pack import pack
from data_shards.packing.settings import PackSettings
from data_shards.readers import source_from
from data_shards.stream import ShardSet
from pipeline.report.chart import Chart, Series, draw
from tests.benchmarks import peers
from tests.benchmarks.rounds import Side, commit, machine

STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; } text { fill: #333; } .tick { fill: #666; }
.tick.y { text-anchor: end; } .tick.x { text-anchor: middle; } .grid { stroke: #ddd; } .mark { stroke: #666; }
.line { fill: none; stroke: var(--c); stroke-width: 1.75; } .series circle { fill: var(--c); stroke: #fff; }
.c1 { --c: #0b6477; } .c2 { --c: #c2611a; } .c3 { --c: #6a51a3; }
"""
"""Of the page on which a chart otherwise stands."""


@dataclass
class Runner:
    """A side, and what it has reached."""

    name: str
    side: Side
    facts: dict[str, Any] = field(default_factory=dict)
    points: list[tuple[float, float]] = field(default_factory=list)
    """(seconds of training, kNN accuracy), from the weights that all begin with."""
    steps: int = 0

    def mapping(self) -> dict[str, Any]:
        images = self.steps * self.facts["batch"]
        seconds = self.points[-1][0]
        return {
            **self.facts,
            "name": self.name,
            "steps": self.steps,
            "images_per_second": round(images / seconds, 1) if seconds else 0.0,
            "knn": [{"seconds": round(x, 2), "knn": round(y, 4)} for x, y in self.points],
        }


def picture(runners: list[Runner]) -> str:
    """The curves as an SVG that stands alone."""
    series = [Series(runner.name, runner.points, number) for number, runner in enumerate(runners, 1)]
    chart = Chart(title="CIFAR-10: kNN accuracy", series=series, unit="kNN", percent=True, along="second")
    width, height = chart.size
    legend = "".join(
        f'<text x="{66 + 120 * n}" y="11" style="fill: var(--c)" class="c{one.colour}">{one.name}</text>'
        for n, one in enumerate(series)
    )
    drawn = str(draw(chart, "knn"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * width}" height="{2 * height}" '
    opened = head + drawn.removeprefix("<svg ")
    inside = opened.index(">") + 1
    return f"{opened[:inside]}<style>{STYLE}</style>{legend}{opened[inside:]}\n"


def folder_of(shards: ShardSet, folder: Path) -> Path:
    """The same files as a folder of classes."""
    for shard, count in enumerate(shards.counts.tolist()):
        for sample in range(count):
            image = shards.read(shard, sample)
            suffix = "png" if image[:4] == b"\x89PNG" else "jpg"
            path = folder / shards.classes[shards.label(shard, sample)] / f"{shard:04d}-{sample:06d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)
    shards.close()
    return folder


def main() -> None:
    """Train both, draw and write what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cifar10", description=__doc__)
    parser.add_argument("--data", required=True, help="CIFAR-10: a folder, an archive, or cifar10 to download it")
    parser.add_argument("--json", type=Path, required=True, help="file to write both curves to")
    parser.add_argument("--svg", type=Path, required=True, help="file to draw both curves into")
    parser.add_argument("--minutes", type=float, default=10, help="budget of each side")
    parser.add_argument("--slices", type=int, default=10, help="turns that each side takes")
    parser.add_argument("--bank", type=int, default=10_000, help="training images that are looked among")
    parser.add_argument("--queries", type=int, default=5_000, help="test images that are asked about")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of lightly's DataLoader")
    parser.add_argument("--batch", type=int, default=128, help="batch of lightly's; its rate grows with it")
    parser.add_argument("--tuned", action="store_true", help="a third side: lightly's, with channels_last and bf16")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cores = tuple(sorted(os.sched_getaffinity(0))[-2:])
    seconds, threads = 60 * given.minutes, len(cores)
    many = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
    with tempfile.TemporaryDirectory(prefix="cifar10-") as work, ExitStack() as stack:
        shards, weights = Path(work) / "shards", str(Path(work) / "weights.pt")
        pack(source_from(given.data).build(), shards, PackSettings(workers=threads))
        folder = folder_of(ShardSet(shards, "train"), Path(work) / "train")
        shared = {"shards": str(shards), "seconds": seconds, "seed": given.seed, "threads": threads, "weights": weights}
        python = peers.python_of("lightly")
        runners = [Runner("ours", stack.enter_context(Side("our_course", cores, **many)))]
        runners[0].facts = runners[0].side.run("start", **shared)["value"]
        for tuned in (False, True) if given.tuned else (False,):
            name = "lightly, bf16" if tuned else "lightly"
            runner = Runner(name, stack.enter_context(Side("with_lightly_course", cores, python, **many)))
            theirs = {"folder": str(folder), "workers": given.workers, "batch": given.batch, "tuned": tuned}
            runner.facts = runner.side.run("start", **shared, **theirs)["value"]
            runners.append(runner)
        for turn in range(given.slices + 1):
            for runner in runners if turn % 2 else runners[::-1]:
                done = runner.side.run("train", seconds=seconds / given.slices if turn else 0)["value"]
                found = runner.side.run("measure", bank=given.bank, queries=given.queries)["value"]
                runner.points.append((done["spent"], found))
                runner.steps = done["steps"]
                print(f"{runner.name}: {done['spent']:.0f} s, {runner.steps} steps, kNN {found:.1%}", file=sys.stderr)
    settings = {key: value for key, value in vars(given).items() if key not in ("data", "json", "svg")}
    versions = {"commit": commit(), **peers.versions_of(python, "lightly", "torch")}
    found = {"machine": machine(), "versions": versions, "settings": settings, "sides": [r.mapping() for r in runners]}
    given.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    given.svg.write_text(picture(runners), encoding="utf-8")


if __name__ == "__main__":
    main()
