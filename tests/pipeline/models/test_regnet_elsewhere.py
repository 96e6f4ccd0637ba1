"""Our RegNets and those of the same size in timm and torchvision: one function, given the same weights."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.models import RegNet
from pipeline.models.sizes import SIZES

LARGE = ["regnety_64gf", "regnety_128gf", "regnety_256gf", "regnety_10b"]
SMALL = [size for size in SIZES if size.startswith("regnet") and size not in LARGE]

OTHER_WIDTHS = {"regnetx_400mf", "regnety_800mf", "regnety_8gf"}
"""Sizes whose widths torchvision rounds in another way."""


def in_timm(size: str) -> nn.Module:
    timm = pytest.importorskip("timm")
    family, amount = size.split("_")
    if amount == "10b":  # timm has the class, and no name for this size
        named = SIZES[size]
        config = timm.models.regnet.RegNetCfg(
            depth=named.depth, w0=named.w_0, wa=named.w_a, wm=named.w_m, group_size=named.group_width, se_ratio=0.25
        )
        with torch.device("meta"):
            network: nn.Module = timm.models.regnet.RegNet(config, num_classes=0)
        return network
    tenths = float(amount[:-2]) / 100 if amount.endswith("mf") else float(amount[:-2]) * 10
    with torch.device("meta"):
        network = timm.create_model(f"{family}_{round(tenths):03d}", num_classes=0)
    return network


def in_torchvision(size: str) -> nn.Module | None:
    regnet = pytest.importorskip("torchvision.models.regnet")
    builder = getattr(regnet, f"regnet_{size[6]}_{size.split('_')[1].replace('.', '_')}", None)
    if builder is None:
        return None

    def on_meta(params: Any, weights: Any, progress: bool, **settings: Any) -> nn.Module:
        with torch.device("meta"):
            network: nn.Module = regnet.RegNet(params, **settings)
        network.fc = nn.Identity()
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regnet, "_regnet", on_meta)
        network: nn.Module = builder()
    return network


def timm_name(key: str) -> str:
    """timm's key of ours (pycls')."""
    key = re.sub(r"\.f\.([abc])_bn\.", lambda m: f".conv{'abc'.index(m[1]) + 1}.bn.", key)
    key = re.sub(r"\.f\.([abc])\.", lambda m: f".conv{'abc'.index(m[1]) + 1}.conv.", key)
    key = key.replace(".f.se.f_ex.0.", ".se.fc1.").replace(".f.se.f_ex.2.", ".se.fc2.")
    key = re.sub(r"(s\d\.b\d+)\.proj\.", r"\1.downsample.conv.", key)
    return re.sub(r"(s\d\.b\d+)\.bn\.", r"\1.downsample.bn.", key)


def torchvision_name(key: str) -> str:
    """torchvision's key of ours (pycls')."""
    key = key.replace("stem.conv.", "stem.0.").replace("stem.bn.", "stem.1.")
    key = re.sub(r"^s(\d)\.b(\d+)\.", lambda m: f"trunk_output.block{m[1]}.block{m[1]}-{int(m[2]) - 1}.", key)
    key = re.sub(r"\.f\.([abc])_bn\.", r".f.\1.1.", key)
    key = re.sub(r"\.f\.([abc])\.(?!1\.)", r".f.\1.0.", key)
    key = key.replace(".f.se.f_ex.0.", ".f.se.fc1.").replace(".f.se.f_ex.2.", ".f.se.fc2.")
    return key.replace(".proj.", ".proj.0.").replace("-0.bn.", "-0.proj.1.")


def weights_for(backbone: RegNet) -> dict[str, Tensor]:
    """Numbers for every tensor: no two rows alike, activations near one, statistics of BatchNorm that matter."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(65537, generator=draw)
    tensors = {}
    for key, tensor in backbone.state_dict().items():
        numbers = noise.repeat(tensor.numel() // len(noise) + 1)[: tensor.numel()].view(tensor.shape)
        if tensor.ndim == 4:
            tensors[key] = numbers / tensor[0].numel() ** 0.5
        elif key.endswith(("running_var", "weight")):
            tensors[key] = torch.rand(tensor.shape, generator=draw) + 0.5
        else:
            tensors[key] = (torch.randn(tensor.shape, generator=draw) * 0.1).to(tensor.dtype)
    return tensors


@torch.no_grad()
@pytest.mark.parametrize("size", SMALL)
def test_forward_equals_timms_and_torchvisions_network_of_the_same_size(size: str) -> None:
    with torch.device("meta"):
        ours = RegNet.Config(size=size).build()
    weights = weights_for(ours)
    ours.load_state_dict(weights, assign=True)
    images = torch.randn(2, 3, 64, 64)
    expected = ours.eval()(images)
    assert expected.std() > 0.01
    for network, name in ((in_timm(size), timm_name), (in_torchvision(size), torchvision_name)):
        if network is None or (name is torchvision_name and size in OTHER_WIDTHS):
            continue
        network.load_state_dict({name(key): tensor for key, tensor in weights.items()}, assign=True)
        torch.testing.assert_close(network.eval()(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", LARGE)
def test_sizes_too_large_to_run_have_timms_and_torchvisions_shapes_key_for_key(size: str) -> None:
    with torch.device("meta"):
        ours = RegNet.Config(size=size).build().state_dict()
    for network, name in ((in_timm(size), timm_name), (in_torchvision(size), torchvision_name)):
        if network is not None:
            theirs = {key: tensor.shape for key, tensor in network.state_dict().items()}
            assert {name(key): tensor.shape for key, tensor in ours.items()} == theirs


@pytest.mark.parametrize("size", sorted(OTHER_WIDTHS))
def test_three_networks_of_torchvision_have_other_widths(size: str) -> None:
    theirs = in_torchvision(size)
    assert theirs is not None
    with torch.device("meta"):
        ours = RegNet.Config(size=size).build()
    keys, shapes = {torchvision_name(key) for key in ours.state_dict()}, theirs.state_dict()
    assert keys == set(shapes)
    assert any(shapes[torchvision_name(key)].shape != tensor.shape for key, tensor in ours.state_dict().items())
