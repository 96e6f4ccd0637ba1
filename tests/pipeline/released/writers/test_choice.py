"""Which libraries are written for, and what is said of the others."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.released.writers import WRITERS
from pipeline.released.writers.choice import choose

NAMED = RegNet.Config(size="regnety_4gf")
DEMO = RegNet.Config(size="custom", widths=(32, 64, 128, 256), depths=(1, 2, 2, 1), strides=(2, 2, 2, 1))
CIFAR = RegNet.Config(size="custom", widths=(32, 64), depths=(1, 2), strides=(1, 2), stem="cifar")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine on which nothing but the packages that are given is missing."""
    missing: list[str] = []
    monkeypatch.setattr(
        "pipeline.released.writers.writer.find_spec",
        lambda name: None if name in missing else importlib.util.find_spec("json"),
    )
    return missing.append


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (NAMED, list(WRITERS)),
        (DEMO, ["torchvision", "vissl", "onnx", "torch_export"]),
        (CIFAR, ["torchvision", "vissl", "onnx", "torch_export"]),
        (RegNet.Config(size="regnety_10b"), ["torchvision", "transformers", "vissl", "onnx", "torch_export"]),
    ],
)
def test_all_that_have_such_a_network_are_written_for(model: RegNet.Config, written: list[str], without: Any) -> None:
    chosen, left_out = choose(model, None, "runs/finetune")
    assert chosen == written
    assert set(left_out) == set(WRITERS) - set(written)


def test_one_asked_for_that_has_no_such_network_is_an_error(without: Any) -> None:
    with pytest.raises(ArtifactError) as caught:
        choose(DEMO, ["onnx", "timm"], "runs/finetune")
    assert str(caught.value) == (
        "runs/finetune: cannot be written for timm: its networks are built by name, and none has strides [2, 2, 2, 1]; "
        "leave timm out of layouts; torchvision, vissl, onnx, torch_export have such a network."
    )


def test_a_library_that_is_not_installed_is_an_error_only_where_it_was_asked_for(without: Any) -> None:
    without("timm")
    without("onnxruntime")
    chosen, left_out = choose(NAMED, None, "runs/finetune")
    assert chosen == list(WRITERS), "the files can be written, if not checked"
    assert left_out == {}
    for name, package in (("timm", "timm"), ("onnx", "onnxruntime")):
        with pytest.raises(ArtifactError, match=f"without {package}.* Next: pip install {package}"):
            choose(NAMED, [name], "runs/finetune")


def test_what_cannot_even_be_written_is_left_out(without: Any) -> None:
    without("onnx")
    without("onnxscript")
    chosen, left_out = choose(NAMED, None, "runs/finetune")
    assert chosen == [name for name in WRITERS if name != "onnx"]
    assert left_out == {"onnx": "onnx and onnxscript are not installed"}
