"""features: a frozen network's vectors of every sample, once, for all evaluations that ask nothing else of it.

Several taps come from one forward pass. Files are NumPy's npz, or Parquet for other tools. Processes share the samples
of a split in order; a run that was killed keeps every file that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from data_shards.ledger import FILE as LEDGER
from data_shards.progress import Progress
from data_shards.reading.cache import CacheSettings
from data_shards.stream import ShardSet
from pipeline import results
from pipeline.artifacts import Artifact, digest, write_atomically
from pipeline.config import to_mapping
from pipeline.errors import RunError
from pipeline.evaluation.compute import Compute, Team, together
from pipeline.evaluation.feature_sets.columns import Format
from pipeline.evaluation.feature_sets.extraction import Extraction, Part, content, parts, rows_of_part
from pipeline.models.initialise import initialise
from pipeline.models.regnet import RegNet
from pipeline.models.taps import AVERAGE, Tap, taps
from pipeline.released import backbones
from pipeline.results import Table
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result
from pipeline.views import Evaluation

_DTYPES: dict[str, type[np.floating[Any]]] = {"fp32": np.float32, "fp16": np.float16}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `features`."""

    out: str = field(default="runs/features", metadata={"identity": False})
    """Run directory; the files lie in it, a folder a split."""
    shards: str = field(default="runs/shard", metadata={"identity": False})
    """Run directory of `shard`, or WebDataset tars; labels are kept where there are some."""
    checkpoint: str = field(default="runs/pretrain", metadata={"identity": False})
    """Run directory of `pretrain`, `fetch` or `finetune`."""
    start: Literal["pretrained", "scratch"] = "pretrained"
    """Take the checkpoint's weights, or the same network untrained: the yardstick."""
    seed: int = 0
    """Seed of the untrained network."""
    splits: tuple[str, ...] = ("train", "test")
    """Splits that are read."""
    taps: tuple[str, ...] = (AVERAGE,)
    """What is taken: average, max, gem or pool HxW of the last map, or of a stage: "res4 pool 2x1"."""
    view: Evaluation.Config | None = None
    """How a picture is shown to the network; null for what its checkpoint asks for."""
    format: Format = "npz"
    """Files: npz for NumPy, or parquet."""
    dtype: Literal["fp32", "fp16"] = "fp32"
    """Precision in which vectors are kept."""
    part: int = field(default=4096, metadata={"identity": False})
    """Samples per file, about; fewer where they would take more than 256 MB."""
    compute: Compute = field(default_factory=Compute)
    """How the network runs."""
    cache: CacheSettings = field(default_factory=CacheSettings, metadata={"identity": False})
    """Where shards that lie at a URL are kept on this machine."""
    max_bad: float = field(default=0.01, metadata={"identity": False})
    """Share of undecodable samples above which the run stops."""

    def __post_init__(self) -> None:
        taps(self.taps)
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise ValueError("splits names at least one split, and none twice")
        if any("/" in split or split.startswith(".") for split in self.splits):
            raise ValueError("splits: a split is a plain name, such as train")
        if self.part < 1:
            raise ValueError("part must be at least 1")


def inputs(config: Config) -> Mapping[str, Input]:
    """Shards and a checkpoint."""
    return {
        "shards": Input(config.shards, "shards", split=config.splits[0]),
        "checkpoint": Input(config.checkpoint, "checkpoint", ("pretrain", "fetch", "finetune")),
    }


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Extract what is not there yet; the first process lists it all at the end."""
    checkpoint, device = inputs["checkpoint"], config.compute.device()
    sets = {split: ShardSet(config.shards, split, cache=config.cache) for split in config.splits}
    wanted = _widths(config, checkpoint)
    view = config.view or backbones.view(checkpoint)
    plan = _plan(config, run, sets, wanted)
    with together() as team:
        mine = {split: _missing(plan[split], team) for split in sets}
        count = sum(part.stop - part.start for missing in mine.values() for part in missing)
        if count:
            network = _network(config, checkpoint).to(device)
            with Progress(count, unit="images", label="features", quiet=not team.is_first) as progress:
                for split, shard_set in sets.items():
                    Extraction(
                        network,
                        shard_set,
                        view.build(),
                        wanted,
                        compute=config.compute,
                        dtype=_DTYPES[config.dtype],
                        max_bad=config.max_bad,
                        progress=progress,
                    ).make(mine[split])
        team.gather(None)  # all are done
    found = {split: [_facts(part) for part in plan[split]] for split in sets} if run.writes else {}
    return _result(config, run, plan, found, wanted, view, sets, checkpoint)


def _widths(config: Config, checkpoint: Artifact) -> dict[Tap, int]:
    """The taps with the lengths of their vectors."""
    widths = backbones.architecture(checkpoint).stages().widths
    try:
        return {tap: tap.width(widths) for tap in taps(config.taps)}
    except ValueError as error:
        raise RunError(config.checkpoint, str(error), "name taps that this network has") from None


def _plan(config: Config, run: Run, sets: Mapping[str, ShardSet], wanted: Mapping[Tap, int]) -> dict[str, list[Part]]:
    row = sum(wanted.values()) * np.dtype(_DTYPES[config.dtype]).itemsize
    each = rows_of_part(config.part, config.compute.batch, row)
    return {split: parts(run.path / split, found.samples, each, config.format) for split, found in sets.items()}


def _missing(plan: list[Part], team: Team) -> list[Part]:
    """Of this process's parts, those that are not there as they were written."""
    share = team.share(len(plan))
    return [part for part in plan[share.start : share.stop] if part.facts() is None]


def _network(config: Config, checkpoint: Artifact) -> RegNet:
    if config.start == "pretrained":
        return backbones.load(checkpoint)
    with torch.device("meta"):
        network = backbones.architecture(checkpoint).build()
    network.to_empty(device="cpu")
    initialise(network, config.seed)
    return network


def _facts(part: Part) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(part.beside.read_text(encoding="utf-8"))
    except OSError:
        raise RunError(
            str(part.path),
            "was made by another process and is not to be seen here",
            "out must be on a disk that all nodes share",
        ) from None
    return found


def _result(
    config: Config,
    run: Run,
    plan: Mapping[str, list[Part]],
    found: Mapping[str, list[dict[str, Any]]],
    wanted: Mapping[Tap, int],
    view: Evaluation.Config,
    sets: Mapping[str, ShardSet],
    checkpoint: Artifact,
) -> Result:
    """The artifact's facts; nothing but the kind where another process writes them."""
    if not run.writes:
        return Result(kind="features", content="")
    splits, bad = {}, []
    for split, facts in found.items():
        listed = [
            {"file": f"{split}/{part.path.name}", "rows": one["rows"]}
            for part, one in zip(plan[split], facts, strict=True)
        ]
        rows = sum(one["rows"] for one in facts)
        splits[split] = {
            "samples": facts[-1]["stop"],
            "rows": rows,
            "left_out": facts[-1]["stop"] - rows,
            "parts": listed,
        }
        bad += [sample for one in facts for sample in one["bad"]]
        keep = {path for part in plan[split] for path in (part.path, part.beside)}
        for stray in set((run.path / split).iterdir()) - keep:  # parts of another size, from before
            stray.unlink()
    if bad:
        write_atomically(run.path / LEDGER, "".join(json.dumps(sample) + "\n" for sample in bad))
    known = {
        f"{split}/{part.path.name}": {"bytes": one["bytes"], "sha256": one["sha256"]}
        for split, facts in found.items()
        for part, one in zip(plan[split], facts, strict=True)
    }
    tables = _tables(splits, wanted)
    results.save(run.path, tables)
    print("\n\n".join(map(str, tables)), flush=True)
    dtype = _DTYPES[config.dtype]
    return Result(
        kind="features",
        content=digest({split: content(facts, wanted, dtype) for split, facts in found.items()}),
        files=(results.FILE,),
        known_files=known,
        figures={
            **{f"samples_{split}": float(facts["rows"]) for split, facts in splits.items()},
            "left_out": float(sum(facts["left_out"] for facts in splits.values())),
        },
        facts={
            "splits": splits,
            "taps": {tap.name: width for tap, width in wanted.items()},
            "classes": list(next(iter(sets.values())).classes),
            "view": to_mapping(view),
            "model": checkpoint.facts["model"],
        },
    )


def _tables(splits: Mapping[str, Mapping[str, Any]], wanted: Mapping[Tap, int]) -> list[Table]:
    rows = [[split, f"{facts['rows']:,}", f"{facts['left_out']:,}"] for split, facts in splits.items()]
    return [
        Table(
            title="Features",
            heads=("split", "samples", "left out"),
            rows=rows,
            note="Left out is what cannot be decoded; bad_samples.jsonl names each."
            if any(facts["left_out"] for facts in splits.values())
            else "",
        ),
        Table(title="Taps", heads=("tap", "length"), rows=[[tap.name, f"{width:,}"] for tap, width in wanted.items()]),
    ]
