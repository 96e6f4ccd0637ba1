"""torchvision: a state dict for `regnet_y_…()`, or for its `RegNet` class where no builder has this network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.models.regnet import RegNet
from pipeline.released.architecture import ELSEWHERE, elsewhere, named_size
from pipeline.released.layouts import LAYOUTS
from pipeline.released.writers.names import WEIGHTS, save_tensors, usual
from pipeline.released.writers.writer import Release, Writer, python

_BUILDERS = {
    *(f"regnet_x_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf")),
}
"""The networks that torchvision has a function for."""


class Torchvision(Writer):
    title = "torchvision"
    opens_with = ("torchvision",)

    def write(self, release: Release, folder: Path) -> None:
        save_tensors(release, LAYOUTS["torchvision"], folder / WEIGHTS)

    @torch.no_grad()
    def outputs(self, release: Release, folder: Path, images: Tensor) -> Tensor:
        model = _build(release)
        model.load_state_dict(load_file(folder / WEIGHTS))
        found: Tensor = model.eval()(images)
        return found

    def usage(self, release: Release, folder: str) -> str:
        return python(
            *_lines(release),
            *([] if release.classes else ["model.fc = torch.nn.Identity()"]),
            f'model.load_state_dict(safetensors.torch.load_file("{folder}/{WEIGHTS}"))',
        )


def builder(model: RegNet.Config) -> str | None:
    """The name of torchvision's function that builds the network; None where it has none."""
    if usual(model):
        return None
    alias = elsewhere(model) or ""
    size = named_size(model.stages()) or ""
    name = alias.removeprefix("torchvision's ") or re.sub(r"^regnet([xy])_", r"regnet_\1_", size).replace(".", "_")
    other = f"torchvision's {name}" in ELSEWHERE and not alias  # the same name, but other widths
    return name if name in _BUILDERS and not other else None


def _build(release: Release) -> nn.Module:
    from torchvision.models import regnet
    from torchvision.ops import Conv2dNormActivation

    settings: dict[str, Any] = {"stem_width": release.model.stem_width, "num_classes": len(release.classes) or 1}
    if name := builder(release.model):
        model: nn.Module = getattr(regnet, name)(**settings)
    else:
        if release.model.stem == "cifar":
            settings["stem_type"] = lambda i, o, norm, act: Conv2dNormActivation(
                i, o, 3, norm_layer=norm, activation_layer=act
            )
        model = regnet.RegNet(regnet.BlockParams(**_params(release.model)), **settings)
    if not release.classes:
        model.fc = nn.Identity()
    return model


def _lines(release: Release) -> list[str]:
    """What `_build` does, as a reader types it."""
    imports = ["import safetensors.torch"] if release.classes else ["import safetensors.torch, torch"]
    model, settings = release.model, []
    if release.model.stem_width != 32:
        settings.append(f"stem_width={model.stem_width}")
    if release.classes:
        settings.append(f"num_classes={len(release.classes)}")
    if name := builder(model):
        return [*imports, f"from torchvision.models import {name}", f"model = {name}({', '.join(settings)})"]
    imports.append("from torchvision.models.regnet import BlockParams, RegNet")
    if model.stem == "cifar":
        imports.append("from torchvision.ops import Conv2dNormActivation")
        settings.append("stem_type=lambda i, o, n, a: Conv2dNormActivation(i, o, 3, norm_layer=n, activation_layer=a)")
    params = ", ".join(f"{key}={value}" for key, value in _params(model).items())
    return [*imports, f"model = RegNet({', '.join([f'BlockParams({params})', *settings])})"]


def _params(model: RegNet.Config) -> dict[str, Any]:
    stages = model.stages()
    return {
        "depths": stages.depths,
        "widths": stages.widths,
        "group_widths": stages.group_widths,
        "bottleneck_multipliers": [1.0] * len(stages.widths),
        "strides": list(model.strides),
        "se_ratio": stages.squeeze or None,
    }
