"""`python -m pipeline`, which also writes which samples each step trained on, and a hash over the crops of each.

python -m tests.pipeline.training.recorded FOLDER STAGE RECIPE [key=value ...], itself or under torchrun. Each process
appends lines of JSON to a file of its own: {"step": 3, "samples": [[17, "…"], …]}.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from data_shards.batch import Batch
from pipeline.__main__ import main
from pipeline.training.module import ObjectiveModule


def samples_of(batch: Batch) -> list[list[Any]]:
    """Index and hash of the crops of each row."""
    found = []
    for row, index in enumerate(batch.indices.tolist()):
        crops = b"".join(array[:, row].tobytes() for array in batch.arrays)
        found.append([index, hashlib.sha256(crops).hexdigest()])
    return found


if __name__ == "__main__":
    folder, *arguments = sys.argv[1:]
    step = ObjectiveModule.training_step

    def recorded_step(self: ObjectiveModule, batch: Batch, batch_idx: int) -> Tensor:
        line = json.dumps({"step": self.step, "samples": samples_of(batch)})
        with open(Path(folder) / f"{os.getpid()}.jsonl", "a") as file:
            file.write(line + "\n")
        return step(self, batch, batch_idx)

    ObjectiveModule.training_step = recorded_step  # type: ignore[method-assign]
    sys.exit(main(arguments))
