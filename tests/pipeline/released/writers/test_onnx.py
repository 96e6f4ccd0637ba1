"""The graphs of ONNX and torch.export: a batch of any size, and what is needed to use them inside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipeline.released.writers import WRITERS
from tests.pipeline.released.writers.releases import CLASSES, SMALL, images, release


@pytest.mark.parametrize("name", ["onnx", "torch_export"])
def test_a_batch_may_have_any_size(name: str, tmp_path: Path) -> None:
    writer, made = WRITERS[name], release(SMALL, CLASSES)
    for package in (*writer.writes_with, *writer.opens_with):
        pytest.importorskip(package)
    writer.write(made, tmp_path)
    for count in (1, 2, 7):
        with torch.no_grad():
            expected = made.network(images(count))
        found = writer.outputs(made, tmp_path, images(count))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if name == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "model.onnx")
        facts = session.get_modelmeta().custom_metadata_map
        assert json.loads(facts["classes"]) == list(CLASSES)
        assert json.loads(facts["mean"]) == list(SMALL.mean)
        assert session.get_inputs()[0].shape[1:] == [3, 48, 48]


def test_weights_that_one_file_cannot_hold_lie_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, made = WRITERS["onnx"], release(SMALL)
    for package in (*writer.writes_with, *writer.opens_with):
        pytest.importorskip(package)
    monkeypatch.setattr("pipeline.released.writers.onnx.PROTOBUF", 1000)
    writer.write(made, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    with torch.no_grad():
        expected = made.network(images())
    torch.testing.assert_close(writer.outputs(made, tmp_path, images()), expected, rtol=1e-5, atol=1e-5)
