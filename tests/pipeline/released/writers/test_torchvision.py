"""torchvision's builders: the one that is named builds a network of these very shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.models.regnet import RegNet
from pipeline.models.sizes import SIZES
from pipeline.released.architecture import ELSEWHERE
from pipeline.released.layouts import LAYOUTS
from pipeline.released.writers.torchvision import builder
from tests.pipeline.released.shapes import theirs

regnet = pytest.importorskip("torchvision.models.regnet")
NAMED = {builder(model): model for model in (*(RegNet.Config(size=size) for size in SIZES), *ELSEWHERE.values())}


def test_every_builder_of_torchvision_is_named_for_the_network_that_it_builds() -> None:
    known = {name for name in dir(regnet) if name.startswith("regnet_")}
    assert set(NAMED) - {None} == known


@pytest.mark.parametrize("name", sorted(name for name in NAMED if name is not None))
def test_the_builder_makes_these_shapes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_meta(params: Any, weights: Any, progress: bool, **settings: Any) -> nn.Module:
        with torch.device("meta"):
            network: nn.Module = regnet.RegNet(params, **settings)
        return network

    monkeypatch.setattr(regnet, "_regnet", on_meta)  # the builders compute widths, which meta tensors cannot hold
    model = getattr(regnet, name)(num_classes=3)
    found = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert found == theirs(LAYOUTS["torchvision"], NAMED[name], classes=3)


@pytest.mark.parametrize(
    "model", [RegNet.Config(stem="cifar"), RegNet.Config(strides=(2, 2, 2, 1)), RegNet.Config(size="regnety_8gf")]
)
def test_other_networks_are_built_from_their_parameters(model: RegNet.Config) -> None:
    assert builder(model) is None
