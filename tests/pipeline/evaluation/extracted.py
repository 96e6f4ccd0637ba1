"""What the stages that evaluate read, made small: a checkpoint, shards with broken pictures, features of numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.artifacts import Artifact, describe_files, digest
from pipeline.checkpoints.state import OBJECTIVE
from pipeline.checkpoints.store import save
from pipeline.checkpoints.tensors import root_hash
from pipeline.config import to_mapping
from pipeline.evaluation.feature_sets.columns import INDEX, KEY, LABEL, write
from pipeline.evaluation.features import Features
from pipeline.models import RegNet
from pipeline.models.initialise import initialise
from tests.data_shards.pictures import Listed, broken_jpeg, jpeg, pack_into

SMALL = RegNet.Config(size="custom", widths=(8, 16), depths=(1, 1), group_width=4, strides=(2, 2), stem_width=8)
VIEW = {"size": 32, "resize": 32}
BROKEN = frozenset({5, 17})


def shards(out: Path, train: int = 60, test: int = 22, broken: Collection[int] = BROKEN) -> Path:
    """Pictures of three classes; in train some are broken, and one in ten has no label."""
    rows = [
        (f"{n}.jpg", "train", None if n % 10 == 9 else f"class{n % 3}", broken_jpeg(n) if n in broken else jpeg(n))
        for n in range(train)
    ]
    rows += [(f"test/{n}.jpg", "test", f"class{n % 3}", jpeg(1000 + n)) for n in range(test)]
    pack_into(out, Listed(rows), samples_per_shard=16, probe="header")
    return out


def checkpoint(out: Path, seed: int = 0) -> Path:
    """A finished run that holds a backbone with the weights of a seed."""
    backbone = SMALL.build()
    initialise(backbone, seed)
    tensors = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    saved = save(out, {OBJECTIVE: tensors}, step=1, consumed=1, keep=1)
    Artifact(
        stage="pretrain",
        kind="checkpoint",
        fingerprint="made",
        content=root_hash(tensors),
        facts={"checkpoint": str(saved.path.relative_to(out)), "model": to_mapping(SMALL), "view": VIEW},
        path=out,
    ).save()
    return out


def names(classes: int) -> list[str]:
    """Names of so many classes."""
    return [f"class{number}" for number in range(classes)]


def features(out: Path, splits: Mapping[str, Mapping[str, Features]], classes: Sequence[str], rows: int = 100) -> Path:
    """A finished run of `features` that holds these vectors, by split and tap, in files of so many rows."""
    facts, taps = {}, {}
    for split, by_tap in splits.items():
        (out / split).mkdir(parents=True)
        (_, labels, indices), parts = next(iter(by_tap.values())), []
        for start in range(0, len(labels), rows):
            piece = slice(start, start + rows)
            columns = {
                INDEX: indices[piece].numpy(),
                LABEL: labels[piece].numpy(),
                KEY: np.array([f"{index:09d}" for index in indices[piece].tolist()]),
                **{tap: found.features[piece].numpy() for tap, found in by_tap.items()},
            }
            name = f"{split}/part-{start:05d}.npz"
            write(out / name, columns)
            parts.append({"file": name, "rows": len(columns[INDEX])})
        facts[split] = {"samples": len(labels), "rows": len(labels), "left_out": 0, "parts": parts}
        taps = {tap: found.features.shape[1] for tap, found in by_tap.items()}
    paths = [part["file"] for split in facts.values() for part in split["parts"]]
    files = describe_files(out, paths)
    Artifact(
        stage="features",
        kind="features",
        fingerprint="made",
        content=digest(files),
        files=files,
        facts={"splits": facts, "taps": taps, "classes": list(classes)},
        path=out,
    ).save()
    return out
