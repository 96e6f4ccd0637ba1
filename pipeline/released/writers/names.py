"""What the writers of safetensors files share: what is usual, and tensors under another library's names."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from pipeline.checkpoints.plain import save_plain
from pipeline.models.regnet import RegNet
from pipeline.released.layouts import Layout
from pipeline.released.writers.writer import Release

WEIGHTS = "model.safetensors"


def usual(model: RegNet.Config) -> str | None:
    """What sets a network apart from those that libraries build by name, beside its widths; None for nothing."""
    if model.stem != "imagenet":
        return f"a {model.stem} stem"
    if any(stride != 2 for stride in model.strides):
        return f"strides {list(model.strides)}"
    return None


def renamed(release: Release, layout: Layout) -> dict[str, Tensor]:
    """The tensors of a network under a layout's names."""
    tensors = release.network.state_dict()
    return {layout.from_ours(name, release.model): tensor.contiguous() for name, tensor in tensors.items()}


def save_tensors(release: Release, layout: Layout, path: Path) -> None:
    """Write them as safetensors; `format` is what transformers asks for before it opens a file."""
    save_plain(renamed(release, layout), path, {"format": "pt"})
