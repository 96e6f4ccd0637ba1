"""The network as a graph of torch's own operators (`torch.export`), which runs without any code of ours.

The batch may have any size; height and width are those of the view, because graphs with free ones take several times as
long to make (ONNX: 19 s instead of 4 s for the demo's network, two cores).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipeline.released.writers.writer import Release, Writer, python

FILE = "model.pt2"


class TorchExport(Writer):
    title = "torch.export"

    def write(self, release: Release, folder: Path) -> None:
        torch.export.save(program(release), folder / FILE)

    @torch.no_grad()
    def outputs(self, release: Release, folder: Path, images: Tensor) -> Tensor:
        found: Tensor = torch.export.load(folder / FILE).module()(images)
        return found

    def usage(self, release: Release, folder: str) -> str:
        return python("import torch", f'model = torch.export.load("{folder}/{FILE}").module()')


@torch.no_grad()
def program(release: Release) -> torch.export.ExportedProgram:
    """The traced network: images (batch, 3, size, size) -> scores or features (batch, n)."""
    example = torch.zeros(2, 3, release.view.size, release.view.size)
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(release.network, (example,), dynamic_shapes=({0: batch},))
