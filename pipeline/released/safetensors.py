"""A network as one safetensors file: pycls' tensor names, and in its metadata all that is needed to use it.

The metadata is one JSON text under `description`: architecture, preprocessing, class names, lineage. Loading runs no
code from the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pipeline import config
from pipeline.checkpoints.plain import save_plain
from pipeline.errors import ArtifactError
from pipeline.models.heads import Classifier
from pipeline.models.regnet import RegNet
from pipeline.released.layouts import CLASSIFIER

FORMAT = "seer-pipeline/1"
USAGE = """```python
from pipeline.released import safetensors
model = safetensors.load("model.safetensors")
```"""
"""How a card says that a file is loaded."""


class Network(nn.Module):
    """A backbone with its classifier, or with none: features (N, width) or scores (N, classes)."""

    def __init__(self, backbone: RegNet, classifier: Classifier | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) to features or scores."""
        features: Tensor = self.backbone(x)
        return features if self.classifier is None else self.classifier(features)


def save(network: Network, path: Path, description: Mapping[str, Any]) -> None:
    """Write the file through a temporary name. `description` must hold `model` and, with a classifier, `classes`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_plain(tensors, path, {"format": FORMAT, "description": json.dumps(description)})


def describe(path: str | Path) -> dict[str, Any]:
    """The description in a file. Raises `ArtifactError` if it is no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(str(path), f"is no safetensors file ({error})", "name one that `export` wrote") from None
    if metadata.get("format") != FORMAT:
        raise ArtifactError(str(path), "does not say how to build its network", "name a file that `export` wrote")
    description: dict[str, Any] = json.loads(metadata["description"])
    return description


def load(path: str | Path) -> Network:
    """The network in a file that `save` wrote, in evaluation mode."""
    description = describe(path)
    backbone = config.build(RegNet.Config, description["model"]).build()
    classes = description.get("classes") or []
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    headed = any(name.startswith(CLASSIFIER) for name in tensors)
    network = Network(backbone, Classifier(backbone.width, len(classes)) if headed else None)
    network.load_state_dict(tensors)
    return network.eval()
