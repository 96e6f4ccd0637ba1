"""A small network, and gradients for it that depend on the step and the parameter's place only."""

from __future__ import annotations

import torch
from torch import nn


def network(seed: int = 0) -> nn.Sequential:
    """Three linear layers; the bias of the second is zero."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(3, 7, bias=False))
    with torch.no_grad():
        module[1].bias.zero_()
    return module


def set_gradients(module: nn.Module, step: int, leave_out: str = "") -> None:
    """The whole gradient on every process; that of the second layer's weight is zero at step 1."""
    for number, (name, p) in enumerate(module.named_parameters()):
        draw = torch.Generator().manual_seed(100 * step + number)
        p.grad = torch.randn(p.shape, generator=draw).to(p)
        if name == "1.weight" and step == 1:
            p.grad.zero_()
        if name == leave_out:
            p.grad = None
