"""What decides how a network is fine-tuned: the pictures, the network, this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from data_shards import images
from data_shards.errors import ImageError
from data_shards.stream import ShardSet
from pipeline.artifacts import Artifact
from pipeline.evaluation.memory import free_memory
from pipeline.models.regnet import RegNet
from pipeline.released import backbones
from pipeline.views import Evaluation

LOOKED_AT = 200
"""Pictures whose size is read."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """The facts; sizes in pixels, memory in bytes."""

    train: int
    """Labelled pictures to learn from."""
    classes: int
    side: int
    """Median of the shorter sides."""
    model: RegNet.Config
    view: Evaluation.Config
    """How the checkpoint wants pictures to be shown."""
    memory: int
    """Free on a device."""
    devices: int
    """GPUs, or 1."""
    cores: int
    on_gpu: bool


def look(train: ShardSet, labels: NDArray[np.int64], checkpoint: Artifact) -> Known:
    """The facts about a split, the class of each of its samples (-1 for none), a checkpoint and this machine."""
    on_gpu = torch.cuda.is_available()
    return Known(
        train=int((labels >= 0).sum()),
        classes=len(train.classes),
        side=_side(train),
        model=backbones.architecture(checkpoint),
        view=backbones.view(checkpoint),
        memory=torch.cuda.mem_get_info()[0] if on_gpu else free_memory(),
        devices=max(1, torch.cuda.device_count()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        on_gpu=on_gpu,
    )


def _side(shard_set: ShardSet) -> int:
    sides = []
    for index in shard_set.spread(LOOKED_AT):
        try:
            sides.append(min(images.probe(shard_set.image(int(index))).upright))
        except ImageError:  # a broken one, which training reports
            continue
    return int(np.median(sides)) if sides else 224
