"""Packing beside its peers: speed of one core, and memory.

    python -m tests.benchmarks.shard --data FOLDER_OR_TAR_OF_JPEGS --json FILE

Same images, same run, same core, taking turns, cold start excluded; see README.md here for what each row means.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import inputs, peers
from tests.benchmarks.rounds import Job, Row, Side, SideError, commit, race, rows_of, save, table

SMALL, MANY = 2_000, 40_000  # small images of the rows on memory
LISTED = 10_000_000


@dataclass
class Bench:
    """What the rows share: the images, a place to work, a core."""

    data: Path
    work: Path
    images: int
    rounds: int
    core: int
    sides: ExitStack
    _laid: dict[str, Path] = field(default_factory=dict)

    def side(self, name: str, python: Path | str = sys.executable, **environment: str) -> Side:
        """A side of its own, which ends with the benchmark."""
        return self.sides.enter_context(Side(name, self.core, python, **environment))

    def photographs(self, classes: int = 0) -> Path:
        """The folder of photographs, in folders of classes where some are wanted."""
        name = f"photographs-{classes}"
        if name not in self._laid:
            images = inputs.photographs_in(self.data)
            self._laid[name] = inputs.lay_out(images, self.images, self.work / name, classes)
        return self._laid[name]

    def ours(self, source: Path, probe: str, **settings: object) -> Job:
        """Our packing of a folder."""
        arguments = {"source": str(source), "probe": probe, **settings}
        return Job(side=self.side("ours"), name="pack", arguments=arguments, out=self.work / "ours")

    def race(self, name: str, ours: Job, peer: Job, asked: str, slower: bool = False) -> list[Row]:
        """The rows of a race whose outputs hold the images that went in, byte for byte."""
        source = Path(ours.arguments["source"])

        def check() -> None:
            expected = inputs.hashes_of(source)
            for job in (ours, peer):
                if job.out is not None and job.name == "pack" and inputs.hashes_in_tars(job.out) != expected:
                    raise SideError(f"{name}: {job.side.name} did not pack the images as they are")

        return rows_of(name, race(ours, peer, self.rounds, check), self.images, asked, slower)


def header_vs_img2dataset(bench: Bench) -> Iterator[Row]:
    """Images as they are, with hash and header probe."""
    source = bench.photographs()
    urls = bench.work / "urls.txt"
    urls.write_text("".join(f"{path.as_uri()}\n" for path in sorted(source.rglob("*.jpg"))))
    python = peers.python_of("img2dataset")
    # albumentations asks the network for a newer version of itself, unless told not to
    side = bench.side("with_img2dataset", python, NO_ALBUMENTATIONS_UPDATE="1")
    peer = Job(side=side, name="pack", arguments={"urls": str(urls)}, out=bench.work / "peer")
    yield from bench.race("pack_header_vs_img2dataset", bench.ours(source, "header"), peer, "≥ 5")


def header_vs_shardwriter(bench: Bench) -> Iterator[Row]:
    """Images as they are, against webdataset's writer behind Pillow: without and with classes, and decoded."""
    for name, look, classes in (
        ("pack_header_vs_shardwriter_verify", "verify", 0),
        ("pack_header_vs_shardwriter_verify_classes", "verify", 10),
        ("pack_header_vs_shardwriter_load", "load", 0),
    ):
        source = bench.photographs(classes)
        arguments = {"source": str(source), "look": look}
        peer = Job(side=bench.side("with_webdataset"), name="pack", arguments=arguments, out=bench.work / "peer")
        yield from bench.race(name, bench.ours(source, "header"), peer, "≥ 3")


def strict_vs_decode(bench: Bench) -> Iterator[Row]:
    """The default packing, against the decoding at 1/8 that it contains."""
    source = bench.photographs()
    plain = bench.side("plain")
    plain.run("load", source=str(source))
    decode = Job(side=plain, name="decode", arguments={"source": str(source)})
    yield from bench.race("pack_strict_vs_decode", bench.ours(source, "strict"), decode, "≤ 1.25", slower=True)


def header_vs_copy(bench: Bench) -> Iterator[Row]:
    """Against reading the files and writing their bytes into one file: the disk's own speed."""
    source = bench.photographs()
    copy = Job(side=bench.side("plain"), name="copy", arguments={"source": str(source)}, out=bench.work / "peer")
    yield from bench.race("pack_vs_copy", bench.ours(source, "header"), copy, "", slower=True)


def memory(bench: Bench) -> Iterator[Row]:
    """The most memory that a packing process ever holds, with few images and with many."""
    for name, count in (("few", SMALL), ("many", MANY)):
        source = inputs.lay_out_small(count, bench.work / f"small-{count}")
        yield _peak_of(bench, f"pack_memory_{name}_small", bench.ours(source, "strict"))
    yield _peak_of(bench, "pack_memory_photographs", bench.ours(bench.photographs(), "strict"))


def listing(bench: Bench) -> Iterator[Row]:
    """The most memory that listing ten million entries takes, with their slices and a manifest of as many samples."""
    job = Job(side=bench.side("ours"), name="list_only", arguments={"count": LISTED}, out=bench.work / "listing")
    yield _peak_of(bench, "listing_ten_million", job, "≤ 1000 MB")


def treatments(bench: Bench) -> Iterator[Row]:
    """What it costs to look for near duplicates, and to store smaller images, beside the default."""
    source = bench.photographs()
    for name, settings in (("near", {"duplicates": "near"}), ("max_side_256", {"max_side": 256})):
        changed = Job(
            side=bench.side("ours"),
            name="pack",
            arguments={"source": str(source), "probe": "strict", **settings},
            out=bench.work / "changed",
        )
        rows = race(changed, bench.ours(source, "strict"), bench.rounds, lambda: None)
        yield from rows_of(f"pack_{name}_vs_default", rows, bench.images, "", slower=True)


def _peak_of(bench: Bench, name: str, job: Job, asked: str = "≤ 300 MB") -> Row:
    megabytes = job.run()["peak"] / 1e6
    return Row(
        name=name,
        ours=megabytes,
        peer=None,
        ratio=None,
        low=megabytes,
        high=megabytes,
        unit="MB at most",
        asked=asked,
    )


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "img2dataset": header_vs_img2dataset,
    "shardwriter": header_vs_shardwriter,
    "decode": strict_vs_decode,
    "copy": header_vs_copy,
    "memory": memory,
    "listing": listing,
    "treatments": treatments,
}


def main() -> None:
    """Measure, print a table, write a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.shard", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder or tar of JPEG files")
    parser.add_argument("--json", type=Path, required=True, help="file to write the figures to")
    parser.add_argument(
        "--images", type=int, default=4_000, help="images in a round; the files are repeated to reach it"
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count, after one that does not")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure")
    parser.add_argument("--work", type=Path, help="folder on the disk to measure; by default one for temporary files")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="core that all sides run on")
    given = parser.parse_args()
    rows: list[Row] = []
    for name in given.only:
        with ExitStack() as sides, tempfile.TemporaryDirectory(dir=given.work, prefix="bench-") as work:
            bench = Bench(given.data, Path(work), given.images, given.rounds, given.core, sides)
            for row in ROWS[name](bench):
                rows.append(row)
                print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    ours = peers.versions_of(sys.executable, "webdataset", "pillow", "simplejpeg", "numpy")
    versions = {"ours": {"commit": commit(), **ours}}
    if "img2dataset" in given.only:
        python = peers.python_of("img2dataset")
        versions["img2dataset"] = peers.versions_of(python, "img2dataset", "opencv-python-headless", "webdataset")
    save(given.json, rows, versions, images=given.images, rounds=given.rounds)
    print(table(rows))


if __name__ == "__main__":
    main()
