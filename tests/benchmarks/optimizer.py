"""What an optimizer's step costs on one core: ours against torch's, for SwAV on RegNetY-400MF.

    python -m tests.benchmarks.optimizer [--rounds 20]

5.5 million parameters in 230 tensors: backbone, head 2048 to 128, 3,000 prototypes. All take turns in each round, with
the same gradients; processor time of one thread, median and lowest. Ours finds the norms and guards against what is
not finite in each step; torch's does nothing of the kind.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pipeline.models import RegNet
from pipeline.objectives import SwAV
from pipeline.training.loss_scaling import LossScaler
from pipeline.training.optimizers import LARS, SGD, AdamW, AnyOptimizer

CONFIGS: dict[str, AnyOptimizer] = {
    "SGD": SGD.Config(rate=1e-6, larc=None),
    "SGD, clipped": SGD.Config(rate=1e-6, larc=None, clip_norm=1.0),
    "SGD with LARC": SGD.Config(rate=1e-6),
    "LARS": LARS.Config(rate=1e-6),
    "AdamW": AdamW.Config(rate=1e-6),
}


def torchs(kind: type[torch.optim.Optimizer], **settings: Any) -> Callable[[nn.Module], Callable[[], Any]]:
    """The step of one of torch's own."""
    return lambda module: kind(module.parameters(), 1e-6, **settings).step  # type: ignore[arg-type,call-arg]


def ours(config: AnyOptimizer, scaler: LossScaler.Config | None = None) -> Callable[[nn.Module], Callable[[], Any]]:
    """The step of one of ours."""
    return lambda module: config.build(module, 256, scaler).step


SIDES: dict[str, Callable[[nn.Module], Callable[[], Any]]] = {
    "torch SGD, foreach": torchs(torch.optim.SGD, momentum=0.9, weight_decay=1e-6, foreach=True),
    "torch SGD, fused": torchs(torch.optim.SGD, momentum=0.9, weight_decay=1e-6, fused=True),
    "torch AdamW, foreach": torchs(torch.optim.AdamW, foreach=True),
    "torch AdamW, fused": torchs(torch.optim.AdamW, fused=True),
    **{name: ours(config) for name, config in CONFIGS.items()},
    "SGD with LARC, fp16's scale": ours(SGD.Config(rate=1e-6), LossScaler.Config()),
}


def measure(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each side's steps, after a first one that is not counted."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    objective = SwAV.Config(prototypes=3000, hidden=(2048,), dim=128).build(RegNet.Config(size="regnety_400mf").build())
    parameters = list(objective.parameters())
    gradients = [torch.randn_like(p) * 1e-3 for p in parameters]
    for p in parameters:
        p.grad = torch.empty_like(p)
    steps = {name: side(objective) for name, side in SIDES.items()}
    costs: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            for p, gradient in zip(parameters, gradients, strict=True):
                assert p.grad is not None
                p.grad.copy_(gradient)
            before = time.process_time()
            step()
            costs[name].append(1e3 * (time.process_time() - before))
    return {name: values[1:] for name, values in costs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="steps of each optimizer that are measured")
    print("| step | median ms | lowest ms |\n|---|---:|---:|")
    for name, costs in measure(parser.parse_args().rounds).items():
        print(f"| {name} | {statistics.median(costs):.1f} | {min(costs):.1f} |")


if __name__ == "__main__":
    main()
