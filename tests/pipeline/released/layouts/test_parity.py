"""Our RegNets and those of timm, torchvision and transformers: the same outputs from the same weights, both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.models.regnet import RegNet
from pipeline.released.accounting import account
from pipeline.released.architecture import elsewhere
from pipeline.released.layouts import LAYOUTS
from tests.parity import BOUND, PAGE, SHAPES, Cell, cell, ours_with, outward, read, scores, table, unsettle
from tests.pipeline.released.libraries import CLASSES, LARGE, LIBRARIES, OTHER_WIDTHS, SMALL, in_timm, timm_name
from tests.pipeline.released.shapes import theirs

WRITTEN = read(PAGE.read_text(encoding="utf-8"))


def expected(size: str, library: str) -> Cell:
    """What the table must say: torchvision has fewer networks, and three that are others."""
    if library == "torchvision":
        if size in OTHER_WIDTHS:
            return Cell(f"{BOUND}, as custom", f"{BOUND}, as custom")
        if size.split("_")[1] in {"200mf", "600mf", "4gf", "6.4gf", "12gf", "64gf", "256gf", "10b"}:
            return Cell("–", "–")
    return Cell(SHAPES, SHAPES) if size in LARGE else Cell(BOUND, BOUND)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("size", [*SMALL, *LARGE])
def test_outputs_agree_both_ways_as_the_table_says(size: str, library: str) -> None:
    pytest.importorskip(library)
    assert cell(size, library) == WRITTEN[size, library] == expected(size, library)


def test_the_table_has_every_size_and_library_and_nothing_else() -> None:
    assert set(WRITTEN) == {(size, library) for size in [*SMALL, *LARGE] for library in LIBRARIES}
    assert table(WRITTEN) in PAGE.read_text(encoding="utf-8")


@torch.no_grad()
@pytest.mark.parametrize("leaf", ["running_mean", "running_var", "weight", "bias"])
def test_two_tensors_exchanged_are_seen_in_the_outputs(leaf: str) -> None:
    theirs = in_timm("regnety_200mf")
    assert theirs is not None
    torch.manual_seed(0)
    unsettle(theirs)
    tensors = theirs.state_dict()
    found = account({name: tensor.shape for name, tensor in tensors.items()}, "a file")
    image = torch.randn(1, 3, 64, 64)
    right = scores(ours_with(found, tensors), image)
    one, other = f"s3.b2.conv1.bn.{leaf}", f"s3.b2.conv2.bn.{leaf}"
    tensors[one], tensors[other] = tensors[other].clone(), tensors[one].clone()
    assert (scores(ours_with(found, tensors), image) - right).abs().max() > 1e-3


@pytest.mark.parametrize("size", OTHER_WIDTHS)
def test_three_networks_of_torchvision_are_custom_and_told_by_its_name_also_from_timm(size: str) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        from_timm: nn.Module = timm.create_model(f"{timm_name(size)}_tv", num_classes=CLASSES)
        from_torchvision = LIBRARIES["torchvision"](size)
    assert from_torchvision is not None
    for network in (from_timm, from_torchvision):
        found = account({name: tensor.shape for name, tensor in network.state_dict().items()}, "a file")
        assert found.model.size == "custom"
        name = f"torchvision's regnet_{size[6]}_{size.split('_')[1]}"
        assert elsewhere(found.model) == name
        assert f"custom ({name}: widths" in found.tell()


@pytest.mark.parametrize("size", ["regnetx_200mf", "regnety_200mf", "regnety_128gf", "regnety_256gf"])
def test_names_for_vissl_and_torchvision_are_those_that_timm_reads(size: str) -> None:
    timm = pytest.importorskip("timm")
    model = RegNet.Config(size=size)
    with torch.device("meta"):
        network = in_timm(size)
    assert network is not None
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    sorted_out: dict[str, dict[str, tuple[int, ...]]] = {"trunk": {}, "heads": {}}
    for name, shape in theirs(LAYOUTS["vissl"], model, CLASSES).items():
        part, _, rest = name.partition(".")
        sorted_out[part][rest] = shape
    file = {"classy_state_dict": {"base_model": {"model": sorted_out}}}
    assert timm.models.regnet._filter_fn(file) == wanted
    assert timm.models.regnet._filter_fn(theirs(LAYOUTS["torchvision"], model, CLASSES)) == wanted


@pytest.mark.parametrize("size", ["regnetx_200mf", "regnety_200mf"])
def test_names_for_pycls_are_those_of_its_own_network(size: str) -> None:
    anynet = pytest.importorskip("pycls.models.anynet")
    stages = RegNet.Config(size=size).stages()
    with torch.device("meta"):
        network = anynet.AnyNet(
            stem_type="simple_stem_in",
            stem_w=32,
            block_type="res_bottleneck_block",
            ds=stages.depths,
            ws=stages.widths,
            ss=[2] * 4,
            bms=[1.0] * 4,
            gws=stages.group_widths,
            se_r=stages.squeeze or None,
            nc=CLASSES,
        )
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert theirs(LAYOUTS["pycls"], RegNet.Config(size=size), CLASSES) == wanted


@torch.no_grad()
@pytest.mark.parametrize("layer_type", ["x", "y"])
def test_transformers_opens_a_folder_with_our_names_with_and_without_a_classifier(
    tmp_path: Path, layer_type: str
) -> None:
    transformers = pytest.importorskip("transformers")
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    config = transformers.RegNetConfig(
        hidden_sizes=[16, 32], depths=[1, 2], groups_width=8, layer_type=layer_type, num_labels=CLASSES
    )
    made = transformers.RegNetForImageClassification(config)
    unsettle(made)
    tensors: dict[str, Tensor] = made.state_dict()
    found = account({name: tensor.shape for name, tensor in tensors.items()}, "a file")
    ours = ours_with(found, tensors)
    config.save_pretrained(tmp_path)
    named = {name: tensor.contiguous() for name, tensor in outward(found, ours).items()}
    safetensors.save_file(named, tmp_path / "model.safetensors", {"format": "pt"})
    image = torch.randn(2, 3, 32, 32)
    classifier, lost = transformers.RegNetForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(lost.values())
    torch.testing.assert_close(classifier(image).logits, scores(ours, image), rtol=0, atol=1e-5)
    headless = {name: tensor for name, tensor in named.items() if not name.startswith("classifier")}
    safetensors.save_file(headless, tmp_path / "model.safetensors", {"format": "pt"})
    backbone, lost = transformers.RegNetModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(lost.values())
    pooled = backbone.eval()(image).pooler_output.flatten(1)
    torch.testing.assert_close(pooled, ours.backbone(image), rtol=0, atol=1e-5)


def test_the_block_groups_of_vissls_larger_trunks_are_read_as_the_groups_of_a_recipe() -> None:
    model = RegNet.Config(size="regnety_10b")
    plain = theirs(LAYOUTS["vissl"], model)
    checkpoints = [[2], [7], [9, 17], []]  # VISSL configs/config/pretrain/seer/models/regnet10B.yaml

    def grouped(name: str) -> str:
        if match := re.match(r"(.*\.res\d+\.)(block(\d+)-(\d+)\..*)", name):
            ends = checkpoints[int(match[3]) - 1]
            part = sum(int(match[4]) >= end for end in ends)
            return f"{match[1]}block{match[3]}-part{part}.{match[2]}"
        return name

    shapes = {grouped(name): shape for name, shape in plain.items()}
    assert "trunk._feature_blocks.res4.block3-part1.block3-9.f.c.weight" in shapes
    found = account(shapes, "a file")
    assert found.model == model
    assert {LAYOUTS["vissl"].from_ours(ours, model): shapes[name] for ours, name in found.sources.items()} == plain
