"""A grid of linear heads on features held in memory: trained in one pass, then asked about others.

    train(grid, vectors, labels, ...)       SGD over shuffled batches, all heads at once
    ask(grid, vectors, labels, ...)         how often each head is right

As in training, a batch may span two passes over the samples, and the order is a function of the seed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from pipeline.errors import RunError
from pipeline.evaluation.classified.accuracy import Accuracy
from pipeline.evaluation.heads.grid import Grid, together
from pipeline.evaluation.memory import free_memory

CHUNK = 4096
"""Rows that are asked about at once."""
Vectors = Mapping[str, Tensor]
"""Features (N, width) by tap."""


def train(
    grid: Grid,
    vectors: Vectors,
    labels: Tensor,
    *,
    batch: int,
    steps: int,
    factor: Callable[[int], float],
    seed: int,
    rows: Tensor | None = None,
    report: Callable[[int, Tensor], None] = lambda step, losses: None,
) -> None:
    """Train the heads in place, where the grid is, on `rows` or all.

    `factor` is the share of the full rate that a step is taken with. `report` is called after each
    step with the steps done and the heads' losses (heads) of its batch.
    """
    device = next(grid.parameters()).device
    config = grid.config
    # Rates, decay and all else that tells heads apart is in the gradient: see `grid.py`.
    optimizer = torch.optim.SGD(grid.parameters(), 1.0, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    grid.train()
    order = batches(len(labels) if rows is None else len(rows), batch, seed)
    for step, chosen in zip(range(steps), order, strict=False):
        chosen = chosen if rows is None else rows[chosen]
        optimizer.param_groups[0]["lr"] = factor(step)
        optimizer.zero_grad()
        losses = grid(
            {tap: values[chosen].to(device, non_blocking=True) for tap, values in vectors.items()},
            labels[chosen].to(device, non_blocking=True),
            count=False,
        ).losses
        together(losses).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        report(step + 1, losses.detach())
    grid.eval()


def batches(samples: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of rows (batch): one permutation of them all behind the other, each keyed by seed and number."""
    number, waiting = 0, torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < batch:
            draw = torch.Generator().manual_seed(seed * 1_000_003 + number)
            waiting = torch.cat([waiting, torch.randperm(samples, generator=draw)])
            number += 1
        yield waiting[:batch]
        waiting = waiting[batch:]


@torch.no_grad()
def ask(
    grid: Grid, vectors: Vectors, labels: Tensor, rows: Tensor | None = None, head: int | None = None
) -> tuple[Tensor, Accuracy | None]:
    """How many of the labelled `rows`, or of all, each head takes for what they are (heads), int64, on the CPU.

    And how the one at place `head` does, where one is given.
    """
    device = next(grid.parameters()).device
    count, accuracy = torch.zeros(len(grid.heads), dtype=torch.int64), None
    rows = torch.arange(len(labels)) if rows is None else rows
    for part in rows.split(CHUNK):  # type: ignore[no-untyped-call]
        said = grid({tap: values[part].to(device) for tap, values in vectors.items()}, labels[part].to(device), head)
        count += said.right.cpu()
        if said.scores is not None:
            found = Accuracy.of(said.scores.cpu(), labels[part])
            accuracy = found if accuracy is None else accuracy + found
    return count, accuracy


def check_memory(needed: int, where: str) -> None:
    """Raise `RunError` where features of so many bytes do not fit into memory: batches are drawn from all of them."""
    if needed > (there := free_memory()):
        raise RunError(
            where,
            f"holds {needed / 1e9:.1f} GB of these taps in fp32, and {there / 1e9:.1f} GB of memory are free",
            "probe one tap after the other with taps=[NAME], or stream pictures with over=crops",
        )
