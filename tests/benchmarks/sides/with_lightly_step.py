"""The training step of SwAV as lightly's examples write it, with our backbone, its weights and the same crops.

`stock`: fp32, NCHW, as the examples are. `tuned`: weights and crops channels_last and bf16 autocast, which a user of
lightly would have to find. In both the loop is bare, without Lightning or a log; crops are normalised floats that lie
in memory, one tensor a view; the optimizer is SGD with momentum, which costs less than the examples' Adam.
"""

from __future__ import annotations

from typing import Any

import torch
from lightly.loss import SwaVLoss
from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.regnet import RegNet
from pipeline.views.views import normalise
from tests.benchmarks.side import serve


class SwaV(nn.Module):
    """lightly's example: a view in, its scores out."""

    def __init__(self, backbone: nn.Module, width: int, prototypes: int, hidden: int = 2048) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection_head = SwaVProjectionHead(width, hidden, 128)
        self.prototypes = SwaVPrototypes(128, prototypes)

    def forward(self, view: Tensor) -> Tensor:
        embedded = F.normalize(self.projection_head(self.backbone(view)), dim=1, p=2)
        scores: Tensor = self.prototypes(embedded)
        return scores


WARM = 12
"""Steps before any that count, as many as ours."""


class Running:
    """The training of this process."""

    model: SwaV
    criterion = SwaVLoss()
    optimizer: torch.optim.Optimizer
    views: list[Tensor]
    large: int
    batch: int
    tuned: bool


def start(path: str, size: str, prototypes: int, threads: int, tuned: bool) -> float:
    """Take over the weights and crops in a file and warm up; gives the mean feature before them."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    saved = torch.load(path)
    backbone = RegNet.Config(size=size).build()
    backbone.load_state_dict(saved["backbone"])
    Running.model = model = SwaV(backbone, backbone.width, prototypes)
    layout = torch.channels_last if tuned else torch.contiguous_format
    Running.views = [normalise(view).contiguous(memory_format=layout) for group in saved["crops"] for view in group]
    Running.large, Running.batch, Running.tuned = len(saved["crops"][0]), len(Running.views[0]), tuned
    backbone.eval()
    with torch.no_grad():
        found = float(backbone(torch.cat(Running.views[: Running.large])).abs().mean())
    backbone.train()
    if tuned:
        model.to(memory_format=torch.channels_last)
    Running.optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    steps(WARM)
    return found


def steps(count: int) -> int:
    """Make so many steps; gives how many images."""
    for _ in range(count):
        Running.model.prototypes.normalize()
        with torch.autocast("cpu", torch.bfloat16, enabled=Running.tuned):
            scores: list[Any] = [Running.model(view) for view in Running.views]
            loss = Running.criterion(scores[: Running.large], scores[Running.large :])
        loss.backward()
        Running.optimizer.step()
        Running.optimizer.zero_grad()
    return count * Running.batch


if __name__ == "__main__":
    serve(start=start, steps=steps)
