"""timm: `model.safetensors` under its names, and `config.json` as its model hub has; the only file that imports timm.

timm has networks by name only: RegNets whose widths and depths are those of a named size, with strides of 2. The width
of the stem is a parameter.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.models.regnet import RegNet
from pipeline.released.architecture import elsewhere, named_size
from pipeline.released.layouts import LAYOUTS
from pipeline.released.writers.names import WEIGHTS, save_tensors, usual
from pipeline.released.writers.writer import Release, Writer, python
from pipeline.views import Evaluation


class Timm(Writer):
    title = "timm"
    opens_with = ("timm",)

    def obstacle(self, model: RegNet.Config) -> str | None:
        if why := usual(model):
            return f"its networks are built by name, and none has {why}"
        if named(model) is None:
            return "its networks are built by name, and none has these widths and depths"
        return None

    def write(self, release: Release, folder: Path) -> None:
        save_tensors(release, LAYOUTS["timm"], folder / WEIGHTS)
        (folder / "config.json").write_text(json.dumps(_config(release), indent=2) + "\n", encoding="utf-8")

    @torch.no_grad()
    def outputs(self, release: Release, folder: Path, images: Tensor) -> Tensor:
        import timm

        model = timm.create_model(
            named(release.model),
            num_classes=len(release.classes),
            checkpoint_path=str(folder / WEIGHTS),
            **_arguments(release.model),
        )
        found: Tensor = model.eval()(images)
        return found

    def usage(self, release: Release, folder: str) -> str:
        more = "".join(f", {name}={value}" for name, value in _arguments(release.model).items())
        return python(
            "import timm",
            f'model = timm.create_model("{named(release.model)}", checkpoint_path="{folder}/{WEIGHTS}", '
            f"num_classes={len(release.classes)}{more})",
            f'# or, with the preprocessing: timm.create_model("local-dir:{folder}", pretrained=True)',
        )


def crop_share(view: Evaluation.Config) -> float:
    """timm's `crop_pct`: it resizes to the whole number of pixels below size / crop_pct, which is to be `resize`."""
    share = view.size / view.resize
    while math.floor(view.size / share) < view.resize:
        share = math.nextafter(share, 0.0)
    return share


def named(model: RegNet.Config) -> str | None:
    """timm's name of a network: tenths of a billion multiply-adds; None for what it has not."""
    size = named_size(model.stages())
    if size is None:
        size = (elsewhere(model) or "").removeprefix("torchvision's ").replace("_x_", "x_").replace("_y_", "y_")
        suffix = "_tv"
    else:
        suffix = ""
    match = re.fullmatch(r"regnet([xy])_([\d.]+)(mf|gf)", size)
    if match is None:
        return None
    tenths = float(match[2]) / 100 if match[3] == "mf" else float(match[2]) * 10
    return f"regnet{match[1]}_{round(tenths):03d}{suffix}"


def _arguments(model: RegNet.Config) -> dict[str, Any]:
    return {} if model.stem_width == 32 else {"stem_width": model.stem_width}


def _config(release: Release) -> dict[str, Any]:
    view, model, side = release.view, release.model, release.view.size
    config: dict[str, Any] = {
        "architecture": named(model),
        "num_classes": len(release.classes),
        "num_features": release.network.backbone.width,
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": False,
            "interpolation": view.interpolation,
            "crop_pct": crop_share(view),
            "crop_mode": "center" if view.keep_ratio else "squash",
            "mean": list(model.mean),
            "std": list(model.std),
            "num_classes": len(release.classes),
            "first_conv": "stem.conv",
            "classifier": "head.fc",
        },
    }
    if release.classes:
        config["label_names"] = list(release.classes)
    if arguments := _arguments(model):
        config["model_args"] = arguments
    return config
