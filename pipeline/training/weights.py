"""Weights of another run, into an objective that is sharded already: each process reads the rows that it keeps.

Weights(directory).load(objective)      what training begins with: the backbone, perhaps classes

What training has left is loaded by `trained.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict

from pipeline.checkpoints.store import read_into, read_tensors
from pipeline.models.initialise import held
from pipeline.objectives.objective import Objective
from pipeline.released.layouts import BACKBONE, CLASSIFIER
from pipeline.training.norms import local


@dataclass(frozen=True)
class Weights:
    """What an objective begins with. Loading raises `ArtifactError` if names or shapes differ."""

    checkpoint: Path
    """Directory of a checkpoint, of which the backbone is taken."""
    rows: tuple[int, ...] | None = None
    """Rows of its classifier, one for each class of the new one; None to begin with a new classifier."""

    def load(self, objective: Objective) -> None:
        """Over the weights that the objective has, in place. A collective."""
        tensors = get_model_state_dict(objective)
        wanted = {name: tensor for name, tensor in tensors.items() if name.startswith(BACKBONE)}
        read_into(self.checkpoint, wanted)
        set_model_state_dict(objective, wanted, options=StateDictOptions(strict=False))
        if self.rows is not None:
            classifier = objective.get_submodule(CLASSIFIER[:-1])
            for name, whole in read_tensors(self.checkpoint, CLASSIFIER).items():
                _take_rows(classifier.get_parameter(name), whole, self.rows)


@torch.no_grad()
def _take_rows(parameter: Tensor, whole: Tensor, rows: tuple[int, ...]) -> None:
    """Fill what this process holds of a parameter with rows of a whole tensor."""
    mine = [rows[row] for row in held(parameter)]
    local(parameter)[: len(mine)].copy_(whole[mine])
