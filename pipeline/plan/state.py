"""Bytes that stay from step to step: weights, their gradients, what the optimizer remembers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
    def shared(self) -> int:
        """What is shared out among processes; buffers are everyone's."""
        return self.total - self.buffers


def state(objective: nn.Module, optimizer: Optimizer, *, whole: bool = False) -> State:
    """What this process holds, or with `whole` all processes together, each tensor once. Nothing is gathered."""
    learning = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    return State(
        parameters=_bytes(objective.parameters(), whole),
        gradients=_bytes(learning, whole),
        optimizer=_bytes(remembered(optimizer), whole),
        buffers=_bytes(objective.buffers(), whole),
    )


def remembered(optimizer: Optimizer) -> Iterator[Tensor]:
    """The tensors of the optimizer's state."""
    for values in optimizer.state.values():
        yield from (value for value in values.values() if isinstance(value, Tensor))


def _bytes(tensors: Iterable[Tensor], whole: bool) -> int:
    held = (tensor.to_local() if isinstance(tensor, DTensor) and not whole else tensor for tensor in tensors)
    return sum(tensor.numel() * tensor.element_size() for tensor in held)
