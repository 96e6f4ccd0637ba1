"""A checkpoint artifact of a small network, and shards with broken pictures, for the stages that evaluate."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pipeline.artifacts import Artifact
from pipeline.checkpoints.state import OBJECTIVE
from pipeline.checkpoints.store import save
from pipeline.checkpoints.tensors import root_hash
from pipeline.config import to_mapping
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
