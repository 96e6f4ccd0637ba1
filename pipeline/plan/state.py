"""Bytes that stay from step to step: weights, their gradients, what the optimizer remembers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer


@dataclass(frozen=True, kw_only=True)
class State:
    """Bytes."""

    parameters: int
    gradients: int
    optimizer: int
    buffers: int

    @property
    def total(self) -> int:
        """All together."""
        return self.parameters + self.gradients + self.optimizer + self.buffers

    @property
    def saved(self) -> int:
        """What a checkpoint holds: all but the gradients."""
        return self.total - self.gradients

    @property
    def sharded(self) -> int:
        """What is shared out among processes; buffers are everyone's."""
        return self.total - self.buffers


def state(objective: nn.Module, optimizer: Optimizer) -> State:
    """What this process holds of it after a step. Takes the step of the optimizer, with gradients of zero."""
    parameters = fill_optimizer(objective, optimizer)
    return State(
        parameters=_bytes(parameters),
        gradients=_bytes(p.grad for p in parameters),
        optimizer=_bytes(remembered(optimizer)),
        buffers=_bytes(objective.buffers()),
    )


def whole_state(objective: nn.Module, optimizer: Optimizer) -> State:
    """The same over all processes, each tensor once: call it after `state`."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    return State(
        parameters=_bytes(objective.parameters(), whole=True),
        gradients=_bytes(parameters, whole=True),
        optimizer=_bytes(remembered(optimizer), whole=True),
        buffers=_bytes(objective.buffers(), whole=True),
    )


def fill_optimizer(objective: nn.Module, optimizer: Optimizer) -> list[nn.Parameter]:
    """Let the optimizer take a step, so that it has all it will remember; gives what can learn."""
    parameters = [p for p in objective.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return parameters


def remembered(optimizer: Optimizer) -> Iterator[Tensor]:
    """The tensors of the optimizer's state."""
    for values in optimizer.state.values():
        yield from (value for value in values.values() if isinstance(value, Tensor))


def _bytes(tensors: Iterable[Tensor | None], whole: bool = False) -> int:
    size = 0
    for tensor in tensors:
        if isinstance(tensor, DTensor) and not whole:
            tensor = tensor.to_local()
        size += 0 if tensor is None else tensor.numel() * tensor.element_size()
    return size
