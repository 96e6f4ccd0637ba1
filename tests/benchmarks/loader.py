"""Crops and batches beside their peers: images per second of one core.

    python -m tests.benchmarks.loader --data FOLDER_OR_TAR_OF_JPEGS --json FILE

Same images, same crops, same run, same core, taking turns, cold start excluded; see README.md here for what each row
means.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import inputs, peers
from tests.benchmarks.rounds import Job, Row, Side, SideError, commit, race, rows_of, save, table
from tests.benchmarks.sides.recipe import BATCH

READINGS = 20  # of each image, in a round of tar reads
PICTURES = {"": lambda images: images, "_256": inputs.reencoded, "_megapixel": inputs.megapixels}
"""What is done to the photographs beforehand, by the end of a row's name."""
ENVIRONMENTS = {
    "with_lightly": "lightly",
    "with_albumentationsx": "albumentationsx",
    "with_dali": "dali",
    "with_litdata": "litdata",
    "with_streaming": "streaming",
}
"""Sides that run in an environment of their own."""


@dataclass
class Bench:
    """What the rows share: the images, a place to work, a core, and the sides, which stay for all rows."""

    data: Path
    work: Path
    images: int
    rounds: int
    core: int
    sides: ExitStack
    _sides: dict[Any, Side] = field(default_factory=dict)
    _laid: dict[str, Path] = field(default_factory=dict)

    def side(self, name: str, cores: tuple[int, ...] = ()) -> Side:
        """The process of a side. Raises `CalledProcessError` where its environment cannot be made."""
        cores = cores or (self.core,)
        if (name, cores) not in self._sides:
            python = peers.python_of(ENVIRONMENTS[name]) if name in ENVIRONMENTS else Path(sys.executable)
            caches = {
                f"DATA_OPTIMIZER_{which}_FOLDER": str(self.work / which.lower()) for which in ("CACHE", "DATA_CACHE")
            }
            quiet = {"NO_ALBUMENTATIONS_UPDATE": "1", "ALBUMENTATIONS_NO_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
            side = Side(name, cores, python, **caches, **quiet)
            self._sides[name, cores] = self.sides.enter_context(side)
        return self._sides[name, cores]

    def photographs(self, kind: str = "") -> Path:
        """The folder of photographs, as they are or as `PICTURES` says."""
        if kind not in self._laid:
            images = PICTURES[kind](inputs.photographs_in(self.data)[: self.images])
            self._laid[kind] = inputs.lay_out(images, self.images, self.work / f"photographs{kind}")
        return self._laid[kind]

    def shards(self) -> Path:
        """The photographs, packed."""
        out = self.work / "shards"
        if not out.exists():
            self.side("ours").run("pack", source=str(self.photographs()), out=str(out), probe="header")
        return out

    def in_memory(self, name: str, kind: str, job: str = "views", **arguments: Any) -> Job:
        """A job of a side on photographs that it has in its memory."""
        source, side = str(self.photographs(kind)), self.side(name)
        side.run("load", source=source)
        return Job(side=side, name=job, arguments={"source": source, **arguments})

    def race(self, name: str, ours: Job, peer: Job, asked: str = "", images: int = 0) -> list[Row]:
        """The rows of a race in which both sides handled all images."""
        images = images or self.images
        costs = race(ours, peer, self.rounds, lambda: None)
        for job, value in zip((ours, peer) * len(costs), (one["value"] for pair in costs for one in pair), strict=True):
            if value != images:
                raise SideError(f"{name}: {job.side.name} handled {value} of {images} images")
        return rows_of(name, costs, images, asked)


def crops(bench: Bench) -> Iterator[Row]:
    """All crops of an image in memory, colours changed on the CPU and not."""
    for kind in ("", "_256"):
        ours = bench.in_memory("our_views", kind, recipe="seer")
        geometric = bench.in_memory("our_views", kind, recipe="seer", photometric="device")
        decode = bench.in_memory("plain", kind, job="decode_whole")
        asked = ASKED if kind == "" else {}
        yield from bench.race(f"seer_full_vs_decode{kind}", ours, decode, asked.get("decode", ""))
        yield from bench.race(f"seer_geometric_vs_decode{kind}", geometric, decode, asked.get("geometric_decode", ""))
        for peer in ("lightly", "torchvision", "albumentationsx", "dali"):
            theirs = _peer(bench, peer, kind, "seer")
            if theirs is None:
                continue
            yield from bench.race(f"seer_full_vs_{peer}{kind}", ours, theirs, asked.get(peer, ""))
            if peer == "lightly":
                yield from bench.race(f"seer_geometric_vs_lightly{kind}", geometric, theirs, asked.get("geometric", ""))


ASKED = {
    "lightly": "≥ 7.5",
    "torchvision": "≥ 6.5",
    "albumentationsx": "≥ 2.3",
    "dali": "≥ 4",
    "decode": "≥ 0.60",
    "geometric_decode": "≥ 0.75",
    "geometric": "≥ 9",
}
"""Of SEER's crops of photographs as they are."""


def swav(bench: Bench) -> Iterator[Row]:
    """SwAV's crops, which are larger."""
    ours = bench.in_memory("our_views", "", recipe="swav")
    theirs = _peer(bench, "lightly", "", "swav")
    if theirs is not None:
        yield from bench.race("swav_full_vs_lightly", ours, theirs, "≥ 11")


def megapixel(bench: Bench) -> Iterator[Row]:
    """Images so large that most need not be decoded in full."""
    ours = bench.in_memory("our_views", "_megapixel", recipe="seer")
    decode = bench.in_memory("plain", "_megapixel", job="decode_whole")
    yield from bench.race("megapixel_full_vs_decode", ours, decode, "≥ 0.95")


def reads(bench: Bench) -> Iterator[Row]:
    """The bytes of an image out of a tar."""
    arguments = {"shards": str(bench.shards()), "epochs": READINGS}
    ours = Job(side=bench.side("our_views"), name="tar_reads", arguments=arguments)
    theirs = Job(side=bench.side("with_webdataset_stream"), name="tar_reads", arguments=arguments)
    yield from bench.race("tar_read_vs_webdataset", ours, theirs, "≥ 20", READINGS * bench.images)


def batches(bench: Bench) -> Iterator[Row]:
    """End to end: from files or shards to batches in the process that trains."""
    shards = str(bench.shards())
    ours = Job(
        side=bench.side("our_views"),
        name="batches",
        arguments={"shards": shards, "recipe": "seer", "threads": 1, "images": bench.images},
    )
    for name, side, asked in (
        ("files_to_batches_vs_lightly", "with_lightly", "≥ 8"),
        ("tars_vs_webdataset", "with_webdataset_stream", "≥ 1"),
        ("tars_vs_litdata", "with_litdata", "≥ 1"),
        ("tars_vs_mosaic", "with_streaming", "≥ 1"),
    ):
        try:
            theirs = bench.side(side)
        except subprocess.CalledProcessError as error:
            missing(side, error)
            continue
        arguments: dict[str, Any] = {}
        if side == "with_lightly":
            arguments |= {"source": str(bench.photographs()), "recipe": "seer"}
        elif side == "with_webdataset_stream":
            arguments |= {"shards": shards}
        else:
            arguments |= {"source": str(bench.work / side)}
            theirs.run("prepare", source=str(bench.photographs()), out=str(bench.work / side))
        yield from bench.race(name, ours, Job(side=theirs, name="batches", arguments=arguments), asked)


def two_cores(bench: Bench) -> Iterator[Row]:
    """From tar to batch on two cores, against twice what one core makes of images in memory. Time on the clock."""
    cores = sorted(os.sched_getaffinity(0))[-2:]
    if len(cores) < 2:
        return
    images = 4 * bench.images
    arguments = {"shards": str(bench.shards()), "recipe": "seer", "threads": 2, "images": images}
    both = Job(side=bench.side("our_views", tuple(cores)), name="batches", arguments=arguments)
    alone = bench.in_memory("our_views", "", recipe="seer")
    pairs = [
        (ours["wall"] / images * 1e6, one["wall"] / bench.images * 1e6)
        for ours, one in race(both, alone, bench.rounds, lambda: None)
    ]
    ratios = [one / (2 * ours) for ours, one in pairs]
    yield Row(
        name="two_cores_vs_one",
        ours=statistics.median(ours for ours, _ in pairs),
        peer=statistics.median(one for _, one in pairs),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        unit="µs on the clock an image",
        asked="≥ 0.85",
        of="one core / (2 × two cores)",
    )


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "crops": crops,
    "swav": swav,
    "megapixel": megapixel,
    "reads": reads,
    "batches": batches,
    "two_cores": two_cores,
}
_MISSING: dict[str, str] = {}


def missing(side: str, error: Exception) -> None:
    """Note a peer that could not be installed; the table goes on without it."""
    _MISSING[side] = str(error)
    print(f"without {side}: {error}", file=sys.stderr)


def _peer(bench: Bench, name: str, kind: str, recipe: str) -> Job | None:
    try:
        return bench.in_memory(f"with_{name}", kind, recipe=recipe)
    except subprocess.CalledProcessError as error:
        missing(name, error)
        return None


def main() -> None:
    """Measure, print a table, write a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.loader", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder or tar of JPEG files")
    parser.add_argument("--json", type=Path, required=True, help="file to write the figures to")
    parser.add_argument("--images", type=int, default=256, help="images in a round, a multiple of 32")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count, after one that does not")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure")
    parser.add_argument("--work", type=Path, help="folder on the disk to measure; by default one for temporary files")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="core that all sides run on")
    given = parser.parse_args()
    if given.images % BATCH:
        parser.error(f"--images {given.images} is no multiple of {BATCH}, the size of a batch")
    rows: list[Row] = []
    with ExitStack() as sides, tempfile.TemporaryDirectory(dir=given.work, prefix="bench-") as work:
        bench = Bench(given.data, Path(work), given.images, given.rounds, given.core, sides)
        for name in given.only:
            for row in ROWS[name](bench):
                rows.append(row)
                print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    ours = ("torch", "torchvision", "webdataset", "pillow", "simplejpeg", "numba", "numpy")
    versions = {"ours": {"commit": commit(), **peers.versions_of(sys.executable, *ours)}}
    for side, name in ENVIRONMENTS.items():
        if (side, (given.core,)) in bench._sides:
            packages = [wanted.partition("==")[0] for wanted in peers.REQUIREMENTS[name]]
            versions[name] = peers.versions_of(peers.python_of(name), *packages)
    save(given.json, rows, versions, images=given.images, rounds=given.rounds, missing=_MISSING)
    print(table(rows))


if __name__ == "__main__":
    main()
