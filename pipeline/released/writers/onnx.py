"""The network as ONNX; the only file that imports onnxruntime."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import torch
from torch import Tensor

from pipeline.released.writers.torch_export import program
from pipeline.released.writers.writer import Release, Writer, python

FILE = "model.onnx"
PROTOBUF = 2 * 10**9
"""Bytes that one protobuf file may have; beyond it weights lie beside the graph."""


class Onnx(Writer):
    title = "ONNX"
    writes_with = ("onnx", "onnxscript")
    opens_with = ("onnxruntime",)
    slack = 10.0  # folds BatchNorm into convolutions: 1.5e-5 was met with good weights

    def write(self, release: Release, folder: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # the exporter reports its progress there
            written = torch.onnx.export(
                program(release), dynamo=True, verbose=False, input_names=["images"], output_names=[release.gives]
            )
        assert written is not None
        facts = {"mean": release.model.mean, "std": release.model.std, "classes": release.classes}
        written.model.metadata_props.update({name: json.dumps(value) for name, value in facts.items()})
        size = sum(tensor.nbytes for tensor in release.network.state_dict().values())
        written.save(folder / FILE, external_data=size > PROTOBUF)

    def outputs(self, release: Release, folder: Path, images: Tensor) -> Tensor:
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
        (found,) = session.run([release.gives], {"images": images.contiguous().numpy()})
        return torch.from_numpy(found)

    def usage(self, release: Release, folder: str) -> str:
        return python(
            "import onnxruntime",
            f'session = onnxruntime.InferenceSession("{folder}/{FILE}")',
            f'{release.gives} = session.run(None, {{"images": images}})[0]  # float32 (batch, 3, size, size)',
        )
