"""Small networks to write for other libraries, with statistics of BatchNorm that matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_shards.batch import Draw
from pipeline.models.heads import Classifier
from pipeline.models.regnet import RegNet
from pipeline.released.safetensors import Network
from pipeline.released.writers import Release
from pipeline.views import Evaluation
from tests.pipeline.views.photographs import encoded

CLASSES = ("cat", "dog", "émeu")
CUSTOM = RegNet.Config(size="custom", widths=(16, 32, 48, 64), depths=(1, 2, 1, 2), stem_width=24, mean=(0.5, 0.4, 0.3))
SMALL = RegNet.Config(size="custom", widths=(16, 32), depths=(1, 2), strides=(1, 1), stem="cifar", squeeze=0.5)
NAMED = RegNet.Config(size="regnety_200mf")
VIEW = Evaluation.Config(size=48, resize=56)


def release(model: RegNet.Config = CUSTOM, classes: tuple[str, ...] = (), view: Evaluation.Config = VIEW) -> Release:
    """The network with weights drawn from seed 0; in pycls' initialisation, so that activations stay near one."""
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = model.build()
        network = Network(backbone, Classifier(backbone.width, len(classes)) if classes else None)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
        elif name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=draw) * 0.1)
        elif name.startswith("classifier."):
            tensor.copy_(torch.randn(tensor.shape, generator=draw))
    return Release(network=network.eval(), model=model, view=view, classes=classes)


def images(count: int = 3, side: int = 48) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def shown(view: Evaluation.Config, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What our view makes of a picture (size, size, 3)."""
    transform = view.build()
    arrays = transform.allocate(1)
    transform.write(encoded(pixels, "PNG"), Draw(0, 0, 0), arrays, 0)
    found: NDArray[np.uint8] = arrays[0][0, 0]
    return found


def grey(normalised: NDArray[np.float32], model: RegNet.Config) -> NDArray[np.float64]:
    """Grey levels (size, size, 3) of a normalised image (3, size, size)."""
    return (np.moveaxis(normalised, 0, -1).astype(np.float64) * model.std + model.mean) * 255


def run(usage: str, **known: Any) -> dict[str, Any]:
    """What the names in a card's Python stand for after it ran."""
    assert usage.startswith("```python\n")
    assert usage.endswith("\n```")
    exec("\n".join(usage.splitlines()[1:-1]), known)
    return known
