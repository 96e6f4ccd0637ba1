"""VISSL: a consolidated `.torch` checkpoint, and the part of a recipe that builds its trunk.

VISSL does not install beside a current torch, so the check reads the file back under VISSL's names here. Its `anynet`
has every network that ours can be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from pipeline.models.heads import Classifier
from pipeline.models.regnet import RegNet
from pipeline.released.layouts import LAYOUTS
from pipeline.released.safetensors import Network
from pipeline.released.writers.names import renamed
from pipeline.released.writers.writer import Release, Writer

FILE = "model.torch"
_STEMS = {"imagenet": "simple_stem_in", "cifar": "res_stem_cifar"}


class Vissl(Writer):
    title = "VISSL"
    remark = "read back by this pipeline under VISSL's names"

    def write(self, release: Release, folder: Path) -> None:
        parts: dict[str, dict[str, Tensor]] = {"trunk": {}, "heads": {}}
        for name, tensor in renamed(release, LAYOUTS["vissl"]).items():
            part, _, name = name.partition(".")
            parts[part][name] = tensor
        model = {"model": parts, "meta": {"trunk": {}, "heads": {}}}
        torch.save({"type": "consolidated", "classy_state_dict": {"base_model": model}}, folder / FILE)

    @torch.no_grad()
    def outputs(self, release: Release, folder: Path, images: Tensor) -> Tensor:
        content = torch.load(folder / FILE, map_location="cpu", weights_only=True)
        parts = content["classy_state_dict"]["base_model"]["model"]
        tensors = {}
        for part, named in parts.items():
            for name, tensor in named.items():
                tensors[LAYOUTS["vissl"].to_ours(f"{part}.{name}") or name] = tensor
        backbone = release.model.build()
        network = Network(backbone, Classifier(backbone.width, len(release.classes)) if release.classes else None)
        network.load_state_dict(tensors)
        found: Tensor = network.eval()(images)
        return found

    def usage(self, release: Release, folder: str) -> str:
        model: dict[str, Any] = {
            "WEIGHTS_INIT": {"PARAMS_FILE": f"{folder}/{FILE}", "STATE_DICT_KEY_NAME": "classy_state_dict"},
            "TRUNK": {"NAME": "regnet", "REGNET": _trunk(release.model)},
        }
        if release.classes:
            model["HEAD"] = {"PARAMS": [["mlp", {"dims": [release.network.backbone.width, len(release.classes)]}]]}
        return "```yaml\n" + yaml.safe_dump({"MODEL": model}, sort_keys=False, default_flow_style=None) + "```"


def _trunk(model: RegNet.Config) -> dict[str, Any]:
    stages = model.stages()
    return {
        "name": "anynet",
        "stem_type": _STEMS[model.stem],
        "stem_width": model.stem_width,
        "depths": stages.depths,
        "widths": stages.widths,
        "group_widths": stages.group_widths,
        "bottleneck_multipliers": [1.0] * len(stages.widths),
        "strides": list(model.strides),
        "use_se": bool(stages.squeeze),
        "se_ratio": stages.squeeze or 0.25,
    }
