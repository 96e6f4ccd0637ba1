"""Every tensor of a file is taken, left out with a reason, or named in an error."""

from __future__ import annotations

import re

import pytest
import torch

from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.released.accounting import account
from pipeline.released.layouts import LAYOUTS, Layout
from tests.pipeline.released.shapes import shapes_of, theirs

MODEL = RegNet.Config(size="regnety_200mf")


@pytest.mark.parametrize("classes", [None, 7])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_whole_file_is_taken_tensor_by_tensor(layout: Layout, classes: int | None) -> None:
    shapes = theirs(layout, MODEL, classes)
    found = account(shapes, "a file")
    assert (found.layout, found.model, found.classes) == (layout, MODEL, classes)
    assert {ours: shapes[name] for ours, name in found.sources.items()} == shapes_of(MODEL, classes)
    assert (found.left_out, found.absent) == ({}, ())
    head = f"a classifier of {classes} classes" if classes else "no classifier"
    assert found.tell() == f"regnety_200mf as {layout.name} names it: {len(shapes)} tensors loaded, {head}"


@pytest.mark.parametrize("level", ["", "block{stage}-part0."])
def test_a_pretraining_of_vissl_gives_its_backbone_and_says_what_is_left_out(level: str) -> None:
    shapes = {
        re.sub(r"(res\d\.)(?=block(\d))", lambda m: m[1] + level.format(stage=m[2]), name).removeprefix("trunk."): shape
        for name, shape in theirs(LAYOUTS["vissl"], MODEL).items()
    }
    heads = {
        "0.projection_head.0.weight": (64, 368),
        "0.projection_head.0.bias": (64,),
        "0.prototypes0.weight": (9, 64),
    }
    found = account(shapes | heads, "a file")
    assert set(found.sources) == set(shapes_of(MODEL))
    assert set(found.left_out) == set(heads)
    assert "0.prototypes0.weight left out, as it holds the prototypes of pretraining" in found.tell()


def test_counters_of_batchnorm_may_be_absent_and_begin_at_zero() -> None:
    shapes = theirs(LAYOUTS["timm"], MODEL)
    found = account({name: shape for name, shape in shapes.items() if "num_batches" not in name}, "a file")
    assert set(found.sources) | set(found.absent) == set(shapes_of(MODEL))
    assert f"{len(found.absent)} counters of BatchNorm begin at 0" in found.tell()
    zeros = found.zeros()
    backbone = MODEL.build()
    state = {name: tensor for name, tensor in backbone.state_dict().items() if "num_batches" not in name}
    backbone.load_state_dict(state | {name.removeprefix("backbone."): tensor for name, tensor in zeros.items()})
    assert all(torch.equal(tensor, torch.tensor(0)) for tensor in zeros.values())


def test_some_counters_without_the_others_are_filled_up() -> None:
    shapes = theirs(LAYOUTS["pycls"], MODEL)
    del shapes["stem.bn.num_batches_tracked"]
    assert account(shapes, "a file").absent == ("backbone.stem.bn.num_batches_tracked",)


def test_a_classifier_on_something_else_than_the_features_is_left_out() -> None:
    shapes = theirs(LAYOUTS["vissl"], MODEL) | {"heads.0.clf.0.weight": (10, 8192), "heads.0.clf.0.bias": (10,)}
    found = account(shapes, "a file")
    assert found.classes is None
    assert set(found.left_out) == {"heads.0.clf.0.weight", "heads.0.clf.0.bias"}
    assert "a classifier (10, 8192) does not stand on features 368 wide" in found.tell()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s4.b7.f.c.weight": None}, r"missing: backbone.s4.b7.f.c.weight \(368, 368, 1, 1\)\); the file is cut off"),
        ({"s4.b7.f.a.weight": (368, 300, 1, 1)}, r"s4.b7.f.a.weight \(368, 300, 1, 1\) instead of \(368, 368, 1, 1\)"),
        ({"stem.conv.weight": (32, 1, 3, 3)}, r"stem.conv.weight \(32, 1, 3, 3\) instead of \(32, 3, 3, 3\)"),
        ({"s4.b7.f.se.f_ex.0.weight": (0, 368, 1, 1)}, r"f_ex.0.weight \(0, 368, 1, 1\) instead of \(92, 368, 1, 1\)"),
        ({"extra.weight": (3,)}, r"strangers: extra.weight \(3,\)"),
        ({"s1.b1.f.a.scale": (3,)}, r"strangers: s1.b1.f.a.scale \(3,\)"),
        ({"head.fc.weight": (10, 368)}, r"missing: classifier.bias \(10,\)"),
        ({"head.fc.bias": (10,)}, r"strangers: head.fc.bias \(10,\)"),
        (
            {"module.stem.conv.weight": (32, 3, 3, 3)},
            "stem.conv.weight and module.stem.conv.weight, which are the same",
        ),
        ({f"x{number}": () for number in range(15)}, r"x11 \(\) and 3 more"),
    ],
)
def test_what_does_not_fit_is_named_with_its_shape(change: dict[str, tuple[int, ...] | None], message: str) -> None:
    shapes = {**theirs(LAYOUTS["pycls"], MODEL), **change}
    with pytest.raises(ArtifactError, match=message) as refused:
        account({name: shape for name, shape in shapes.items() if shape is not None}, "x.pyth")
    assert str(refused.value).startswith("x.pyth: ")


def test_a_file_of_another_network_than_the_one_asked_for_lists_the_differences() -> None:
    with pytest.raises(
        ArtifactError, match=r"does not hold regnety_400mf as timm names it \(missing: .*of another shape"
    ):
        account(theirs(LAYOUTS["timm"], MODEL), "x.safetensors", RegNet.Config(size="regnety_400mf"))
    with pytest.raises(ArtifactError, match=r"regnety_256gf as timm names it \(missing: .* and \d+ more"):
        account(theirs(LAYOUTS["timm"], MODEL), "x.safetensors", RegNet.Config(size="regnety_256gf"))
