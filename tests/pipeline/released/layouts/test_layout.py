"""Names go to ours and back; a layout knows its own names and nobody else's."""

from __future__ import annotations

import pytest

from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.released.layouts import LAYOUTS, Layout, recognise
from tests.pipeline.released.shapes import shapes_of, theirs

MODELS = {size: RegNet.Config(size=size) for size in ("regnetx_200mf", "regnety_200mf", "regnety_128gf")}
VISSL = LAYOUTS["vissl"]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_name_comes_back_as_it_went_and_only_its_own_layout_recognises_it(
    layout: Layout, model: RegNet.Config
) -> None:
    names = list(shapes_of(model, classes=10))
    given = [layout.from_ours(name, model) for name in names]
    assert len(set(given)) == len(names)
    assert [layout.to_ours(name) for name in given] == names
    assert [layout.to_ours(f"module.{name}") for name in given] == names
    assert [other.name for other in LAYOUTS.values() if other.recognises(given)] == [layout.name]
    assert recognise(given, "a file") is layout


@pytest.mark.parametrize(
    ("layout", "name", "ours"),
    [
        ("timm", "s2.b3.conv2.bn.running_var", "backbone.s2.b3.f.b_bn.running_var"),
        ("timm", "head.fc.bias", "classifier.bias"),
        ("torchvision", "trunk_output.block4.block4-0.proj.1.bias", "backbone.s4.b1.bn.bias"),
        ("torchvision", "fc.weight", "classifier.weight"),
        ("transformers", "regnet.encoder.stages.1.layers.2.layer.3.convolution.weight", "backbone.s2.b3.f.c.weight"),
        ("transformers", "encoder.stages.1.layers.2.layer.2.convolution.weight", "backbone.s2.b3.f.c.weight"),
        ("transformers", "encoder.stages.1.layers.2.layer.2.attention.2.bias", "backbone.s2.b3.f.se.f_ex.2.bias"),
        ("pycls", "s1.b2.f.se.f_ex.0.weight", "backbone.s1.b2.f.se.f_ex.0.weight"),
        ("vissl", "_feature_blocks.conv1.stem.1.running_mean", "backbone.stem.bn.running_mean"),
        ("vissl", "_feature_blocks.res2.block1-0.f.final_bn.weight", "backbone.s1.b1.f.c_bn.weight"),
        ("vissl", "trunk._feature_blocks.res3.block2-4.proj.weight", "backbone.s2.b5.proj.weight"),
        ("vissl", "_feature_blocks.res4.block3-part1.block3-9.f.c.weight", "backbone.s3.b10.f.c.weight"),
        ("vissl", "0.clf.0.weight", "classifier.weight"),
        ("vissl", "heads.0.clf.0.bias", "classifier.bias"),
    ],
)
def test_a_name_that_a_library_gives_is_read(layout: str, name: str, ours: str) -> None:
    assert LAYOUTS[layout].to_ours(name) == ours


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("vissl", "_feature_blocks.res2.block2-0.f.c.weight"),
        ("torchvision", "trunk_output.block1.block2-0.f.c.0.weight"),
        ("timm", "s1.b1.conv4.conv.weight"),
        ("timm", "xs1.b1.conv1.conv.weight"),
        ("ours", "stem.conv.weight"),
        ("pycls", "backbone.stem.conv.weight"),
    ],
)
def test_a_name_that_is_almost_one_is_none(layout: str, name: str) -> None:
    assert LAYOUTS[layout].to_ours(name) is None
    assert LAYOUTS[layout].reason(name) is None


@pytest.mark.parametrize("name", ["stem.conv.weight", "backbone.s1.b1.f.d.weight", "head.fc.weight", "backbone"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_is_no_name_of_ours_is_given_no_name(layout: Layout, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is no tensor of a RegNet"):
        layout.from_ours(name, MODELS["regnety_200mf"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("0.projection_head.4.weight", "projection head"),
        ("heads.0.prototypes0.weight", "prototypes"),
        ("0.channel_bn.running_mean", "linear probe with a BatchNorm"),
        ("0.clf.clf.0.weight", "linear probe with a BatchNorm"),
        ("1.clf.0.weight", "no classifier of one layer"),
        ("0.clf.3.weight", "no classifier of one layer"),
    ],
)
def test_heads_of_vissl_that_are_no_classifier_are_known_and_left_out(name: str, reason: str) -> None:
    assert VISSL.to_ours(name) is None
    assert reason in str(VISSL.reason(name))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no tensors"),
        (["heads.0.clf.0.weight", "heads.0.clf.0.bias"], "holds a head and no backbone"),
        (["0.projection_head.0.weight", "0.prototypes0.weight"], "holds a head and no backbone"),
        (["head.fc.weight"], "holds a head and no backbone"),
        (["module.conv1.weight", "module.layer1.0.conv1.weight"], "seems to hold a ResNet"),
        (["_feature_blocks.layer1.0.conv1.weight"], "seems to hold a ResNet"),
        (["cls_token", "blocks.0.attn.qkv.weight"], "seems to hold a vision transformer"),
        (["a", "b", "c", "d"], r"no layout known here has \(a, b, c and 1 more\)"),
    ],
)
def test_a_file_of_no_layout_is_refused_with_what_it_seems_to_be(names: list[str], message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as refused:
        recognise(names, "x.pth")
    assert str(refused.value).startswith("x.pth: ")
    assert "ours, pycls, timm, torchvision, transformers, vissl" in str(refused.value)


def test_the_shapes_of_a_file_are_kept_under_the_names_of_its_layout() -> None:
    model = MODELS["regnety_200mf"]
    assert theirs(VISSL, model, 3)["heads.0.clf.0.weight"] == (3, 368)
    assert theirs(VISSL, model)["trunk._feature_blocks.res5.block4-6.f.c.weight"] == (368, 368, 1, 1)
