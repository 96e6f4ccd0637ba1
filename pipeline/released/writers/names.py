"""What the writers of safetensors files share: the size of a network, and its tensors under another library's names."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from torch import Tensor

from pipeline.checkpoints.plain import save_plain
from pipeline.models.regnet import RegNet, Stages
from pipeline.models.sizes import SIZES
from pipeline.released.layouts import Layout
from pipeline.released.writers.writer import Release

WEIGHTS = "model.safetensors"


def named_size(model: RegNet.Config) -> str | None:
    """The first name of the size with these widths and depths, whatever the config calls it."""
    return next((name for name, stages in _sizes().items() if stages == model.stages()), None)


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


@cache
def _sizes() -> dict[str, Stages]:
    return {name: RegNet.Config(size=name).stages() for name in SIZES}
