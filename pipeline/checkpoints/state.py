"""What a checkpoint holds: the objective and its optimizer, under names that do not depend on how they are sharded.

Where training keeps an average of the objective (training/ema.py), it stands beside it under the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_state_dict, set_state_dict
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

State = dict[str, Any]
OBJECTIVE, OPTIMIZER, AVERAGE = "objective", "optimizer", "average"


def training_state(objective: nn.Module, optimizer: Optimizer) -> State:
    """The tensors of training as torch.distributed.checkpoint saves and loads them; sharded ones stay sharded."""
    model, optim = get_state_dict(objective, optimizer)
    return {OBJECTIVE: model, OPTIMIZER: optim}


def set_training_state(objective: nn.Module, optimizer: Optimizer, state: State) -> None:
    """Put a loaded state back."""
    set_state_dict(objective, optimizer, model_state_dict=state[OBJECTIVE], optim_state_dict=state[OPTIMIZER])


@torch.no_grad()
def whole_tensors(objective: nn.Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Each tensor of an objective whose name begins with `prefix`, whole, where it lies, one after the other.

    So no device holds more than one of them beside its shard. A collective: every process goes through all of them.
    """
    for name, tensor in get_model_state_dict(objective).items():
        if name.startswith(prefix):
            yield name, tensor.full_tensor() if isinstance(tensor, DTensor) else cast(Tensor, tensor)
