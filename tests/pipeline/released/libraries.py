"""The same RegNets built by timm, torchvision and transformers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.models.regnet import RegNet
from pipeline.models.sizes import SIZES

CLASSES = 7

LARGE = ["regnety_64gf", "regnety_128gf", "regnety_256gf", "regnety_10b"]
"""Sizes that are only compared by name and shape."""

SMALL = [size for size in SIZES if size.startswith("regnet") and size not in LARGE]

OTHER_WIDTHS = ["regnetx_400mf", "regnety_800mf", "regnety_8gf"]
"""Sizes whose widths torchvision rounds in another way, so that its network of that name is another."""


def timm_name(size: str) -> str:
    """`regnety_032` for `regnety_3.2gf`: tenths of a billion multiply-adds."""
    family, amount = size.split("_")
    tenths = float(amount[:-2]) / 100 if amount.endswith("mf") else float(amount[:-2]) * 10
    return f"{family}_{round(tenths):03d}"


def in_timm(size: str) -> nn.Module | None:
    timm = pytest.importorskip("timm")
    if size == "regnety_10b":  # timm has the class, and no name for this size
        named = SIZES[size]
        config = timm.models.regnet.RegNetCfg(
            depth=named.depth, w0=named.w_0, wa=named.w_a, wm=named.w_m, group_size=named.group_width, se_ratio=0.25
        )
        network: nn.Module = timm.models.regnet.RegNet(config, num_classes=CLASSES)
        return network
    network = timm.create_model(timm_name(size), num_classes=CLASSES)
    return network


def in_torchvision(size: str) -> nn.Module | None:
    regnet = pytest.importorskip("torchvision.models.regnet")
    builder = getattr(regnet, f"regnet_{size[6]}_{size.split('_')[1].replace('.', '_')}", None)
    if builder is None:
        return None
    device = torch.empty(0).device

    def build(params: Any, weights: Any, progress: bool, **settings: Any) -> nn.Module:
        with device:
            network: nn.Module = regnet.RegNet(params, num_classes=CLASSES, **settings)
        return network

    # Its widths are computed with tensors, which have to have values even where the network has none.
    with pytest.MonkeyPatch.context() as patch, torch.device("cpu"):
        patch.setattr(regnet, "_regnet", build)
        network: nn.Module = builder()
    return network


def in_transformers(size: str) -> nn.Module | None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    stages = RegNet.Config(size=size).stages()
    network: nn.Module = transformers.RegNetForImageClassification(
        transformers.RegNetConfig(
            embedding_size=32,
            hidden_sizes=stages.widths,
            depths=stages.depths,
            groups_width=stages.group_widths[-1],
            layer_type="y" if stages.squeeze else "x",
            num_labels=CLASSES,
        )
    )
    return network


LIBRARIES: dict[str, Callable[[str], nn.Module | None]] = {
    "timm": in_timm,
    "torchvision": in_torchvision,
    "transformers": in_transformers,
}
"""What builds a size in each library, on torch's current device; None where it has no such network."""
