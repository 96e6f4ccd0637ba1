"""A network written for other libraries: one file a library, a `Writer` each.

    writer.py         what a writer owes
    choice.py         which libraries have a network like ours, and which of them are installed
    names.py          what the writers of safetensors share: sizes, names of tensors
    compared.py       one folder, written, opened again and compared before it counts

A library that is new here is one file with its `Writer`, and its place in `WRITERS`.
"""

from __future__ import annotations

from pipeline.released.writers.onnx import Onnx
from pipeline.released.writers.timm import Timm
from pipeline.released.writers.torch_export import TorchExport
from pipeline.released.writers.torchvision import Torchvision
from pipeline.released.writers.transformers import Transformers
from pipeline.released.writers.vissl import Vissl
from pipeline.released.writers.writer import Release, Writer

__all__ = ["WRITERS", "Release", "Writer"]

WRITERS: dict[str, Writer] = {
    "timm": Timm(),
    "torchvision": Torchvision(),
    "transformers": Transformers(),
    "vissl": Vissl(),
    "onnx": Onnx(),
    "torch_export": TorchExport(),
}
"""Every writer by the name that recipes and folders give it."""
