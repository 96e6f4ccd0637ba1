"""What decides how a network is fine-tuned: the pictures, the network, this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_shards import images
from data_shards.errors import ImageError
from data_shards.stream import ShardSet
from pipeline.artifacts import Artifact
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


def look(train: ShardSet, checkpoint: Artifact) -> Known:
    """The facts about a split with labels, a checkpoint and this machine."""
    on_gpu = torch.cuda.is_available()
    return Known(
        train=int((train.labels() >= 0).sum()),
        classes=len(train.classes),
        side=_side(train),
        model=backbones.architecture(checkpoint),
        view=backbones.view(checkpoint),
        memory=torch.cuda.mem_get_info()[0] if on_gpu else free_memory(),
        devices=max(1, torch.cuda.device_count()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        on_gpu=on_gpu,
    )


def free_memory(meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes that a process may still take: what the system has, or less where its container says so."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(meminfo), re.MULTILINE)
    available = int(found[1]) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    allowed = _text(limit).strip()
    return min(available, int(allowed)) if allowed.isdecimal() else available


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _side(shard_set: ShardSet) -> int:
    sides = []
    for index in shard_set.spread(LOOKED_AT):
        try:
            sides.append(min(images.probe(shard_set.image(int(index))).upright))
        except ImageError:  # a broken one, which training reports
            continue
    return int(np.median(sides)) if sides else 224
