"""What a checkpoint holds: the objective and its optimizer, under names that do not depend on how they are sharded.

Where training keeps an average of the objective (training/ema.py), it stands beside it under the same names.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
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


def whole_tensors(objective: nn.Module) -> dict[str, Tensor]:
    """Every tensor of an objective, whole and on the CPU, in the first process; empty in the others. A collective."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return cast(dict[str, Tensor], get_model_state_dict(objective, options=options))
