"""A network is known by its shapes: each named size by its name, any other as what it is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.models.sizes import SIZES
from pipeline.released.architecture import ELSEWHERE, architecture, elsewhere, named_size, tell
from tests.pipeline.released.shapes import shapes_of

NAMED = [size for size in SIZES if not size.startswith("seer")]


@pytest.mark.parametrize("size", NAMED)
def test_each_named_size_is_found_from_its_shapes(size: str) -> None:
    assert architecture(shapes_of(RegNet.Config(size=size)), "a file") == RegNet.Config(size=size)


def test_a_size_with_two_names_is_called_by_the_one_that_is_no_alias() -> None:
    assert named_size(RegNet.Config(size="seer_rg32").stages()) == "regnety_32gf"


def test_seers_256gf_and_classyvisions_are_told_apart() -> None:
    seers = RegNet.Config(size="regnety_256gf")
    classys = ELSEWHERE["ClassyVision's regnet_y_256gf"]
    assert (seers.stages().widths[-1], classys.stages().widths[-1]) == (10444, 5088)
    assert classys.stages().group_widths == [640, 848, 848, 848]
    assert architecture(shapes_of(seers), "a file").size == "regnety_256gf"
    found = architecture(shapes_of(classys), "a file")
    assert found == classys
    assert tell(found).startswith("custom (ClassyVision's regnet_y_256gf: widths [640, 1696, 2544, 5088]")


def custom(widths: tuple[int, ...], depths: tuple[int, ...], **settings: Any) -> RegNet.Config:
    return RegNet.Config(**{"size": "custom", "widths": widths, "depths": depths, "strides": (2, 2), **settings})


@pytest.mark.parametrize(
    "model",
    [
        custom((16, 32), (1, 3), group_width=8, squeeze=0.5),
        custom((16, 32), (1, 1), group_width=16, squeeze=0.0),
        custom((32, 48), (2, 2), group_width=16, squeeze=0.25, strides=(1, 2)),
        custom((8, 48), (2, 2), group_width=24, squeeze=0.3, stem_width=12),
        RegNet.Config(size="regnety_400mf", stem_width=16),
        RegNet.Config(size="regnety_400mf", strides=(1, 2, 2, 2), stem_width=48),
    ],
    ids=["squeeze of a half", "no squeeze", "stride of 1", "narrow", "named, another stem", "named, stride of 1"],
)
def test_a_network_without_a_name_is_found_as_what_it_is(model: RegNet.Config) -> None:
    found = architecture(shapes_of(model), "a file")
    assert found == model
    assert elsewhere(found) is None


@st.composite
def models(draw: st.DrawFn) -> RegNet.Config:
    stages = draw(st.integers(1, 4))
    group = draw(st.sampled_from([1, 3, 8, 16]))

    def each(numbers: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(numbers, min_size=stages, max_size=stages)))

    return RegNet.Config(
        size="custom",
        widths=tuple(times * group for times in each(st.integers(4, 12))),
        depths=each(st.integers(1, 2)),
        strides=each(st.integers(1, 2)),
        group_width=group,
        squeeze=draw(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0.2, 1.0)),
        stem_width=draw(st.integers(8, 40)),
    )


@settings(max_examples=20, deadline=None)
@given(models())
def test_any_network_is_found_as_one_with_its_shapes(model: RegNet.Config) -> None:
    shapes = shapes_of(model)
    assert shapes_of(architecture(shapes, "a file")) == shapes


def test_a_network_of_other_shapes_than_a_named_size_never_gets_its_name() -> None:
    one_block_more = RegNet.Config(size="regnety_200mf").stages()
    model = RegNet.Config(
        size="custom",
        widths=tuple(one_block_more.widths),
        depths=(*one_block_more.depths[:3], one_block_more.depths[3] + 1),
        group_width=8,
    )
    assert architecture(shapes_of(model), "a file").size == "custom"


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("backbone.s1.", r"holds stages \[2, 3, 4\]; the stages of a RegNet count from 1"),
        ("backbone.s", r"holds stages \[\]"),
        ("backbone.s3.b1.", r"holds blocks \[2, 3, 4\] of stage 3; they would count from 1"),
        ("backbone.stem.conv.weight", "has no stem.conv.weight"),
        ("backbone.s2.b1.f.b.weight", "has no s2.b1.f.b.weight"),
    ],
)
def test_tensors_that_make_no_regnet_are_refused(lost: str, message: str) -> None:
    shapes = shapes_of(RegNet.Config(size="regnety_200mf"))
    with pytest.raises(ArtifactError, match=f"x.pth: {message}"):
        architecture({name: shape for name, shape in shapes.items() if not name.startswith(lost)}, "x.pth")


@pytest.mark.parametrize("shape", [(), (368,), (368, 0, 1, 1)])
def test_a_shape_that_says_nothing_is_refused(shape: tuple[int, ...]) -> None:
    shapes = shapes_of(RegNet.Config(size="regnety_200mf")) | {"backbone.s4.b1.f.b.weight": shape}
    with pytest.raises(ArtifactError, match=f"has s4.b1.f.b.weight {re.escape(str(shape))}; its axis 1 says"):
        architecture(shapes, "x.pth")


def test_group_widths_that_no_regnet_has_are_refused() -> None:
    shapes = shapes_of(RegNet.Config(size="regnety_200mf"))
    shapes["backbone.s4.b1.f.b.weight"] = (368, 46, 3, 3)
    with pytest.raises(ArtifactError, match="is no RegNet: widths"):
        architecture(shapes, "x.pth")
