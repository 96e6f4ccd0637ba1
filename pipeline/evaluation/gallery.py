"""Pictures that show what a network sees and sorts by: its crops, and the images nearest to its prototypes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from data_shards.batch import Draw, Transform
from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.evaluation.features import extract
from pipeline.objectives.objective import Objective
from pipeline.views.views import Views

CROPS, PROTOTYPES = "crops.png", "prototypes.png"
GAP = 2


def draw_crops(shard_set: ShardSet, transform: Transform, seed: int, folder: Path, images: int = 8) -> str:
    """A row an image: every crop that the first epoch drew of it. Gives the file's name."""
    indices = shard_set.spread(images)
    with _passing(shard_set, transform, indices, batch=len(indices), seed=seed) as loader:
        views = Views.of(next(iter(loader))).coloured()
    groups = [group.permute(0, 1, 3, 4, 2).numpy() for group in views.crops]
    height = max(views.sizes)
    rows = []
    for row in range(len(indices)):
        crops = [crop for group in groups for crop in group[:, row]]
        rows.append(np.concatenate([_framed(crop, height) for crop in crops], axis=1))
    return _write(np.concatenate(rows), folder / CROPS)


@torch.no_grad()
def draw_prototypes(
    shard_set: ShardSet,
    objective: Objective,
    transform: Transform,
    folder: Path,
    *,
    prototypes: int = 12,
    images: int = 8,
    among: int = 2000,
) -> list[str]:
    """A row a prototype: the images with the highest score, for the prototypes that most images are nearest to.

    Gives the file's name, or nothing for an objective without prototypes.
    """
    chosen = shard_set.spread(among)
    with _passing(shard_set, transform, chosen, batch=256) as loader:
        found = extract(objective.backbone, loader)
    objective.eval()
    scores = objective.prototype_scores(found.features)
    if scores is None:
        return []
    counts = torch.bincount(scores.argmax(1), minlength=scores.shape[1])
    rows = []
    for prototype in counts.argsort(descending=True, stable=True)[:prototypes].tolist():
        nearest = scores[:, prototype].topk(min(images, len(scores))).indices.tolist()
        rows.append(np.concatenate([_thumbnail(shard_set, int(found.indices[i]), transform) for i in nearest], axis=1))
    return [_write(np.concatenate(rows), folder / PROTOTYPES)]


def _passing(
    shard_set: ShardSet, transform: Transform, indices: NDArray[np.int64], *, batch: int, seed: int = 0
) -> Loader:
    """These images in sequence. The run has raised its alarm where too many were bad; pictures raise none."""
    ledger = Ledger(max_rate=1)
    return Loader(shard_set, transform, batch=batch, seed=seed, shuffle=False, subset=indices, ledger=ledger)


def _thumbnail(shard_set: ShardSet, index: int, transform: Transform) -> NDArray[np.uint8]:
    arrays = transform.allocate(1)
    transform.write(shard_set.image(index), Draw(0, 0, index), arrays, 0)
    picture = Image.fromarray(arrays[0][0, 0])
    return _framed(np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR)), 64)


def _framed(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """The picture, RGB with alpha, in a transparent frame as high as its row."""
    frame = np.zeros((height + GAP, picture.shape[1] + GAP, 4), np.uint8)
    top = (height - picture.shape[0]) // 2
    frame[top : top + picture.shape[0], : picture.shape[1], :3] = picture
    frame[top : top + picture.shape[0], : picture.shape[1], 3] = 255
    return frame


def _write(picture: NDArray[np.uint8], path: Path) -> str:
    Image.fromarray(picture).save(path, optimize=True)
    return path.name
