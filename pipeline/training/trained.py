"""What training has left, used by the processes that trained it: no process ever holds a sharded network whole.

meet(trainer)                             the device of this process; the processes know each other from here on
load(objective, checkpoint, trainer, …)   an objective on the meta device becomes the one in a checkpoint
keep(objective, folder, step)             a checkpoint of it alone: of an average, which then is like any other
classify(objective, loader, progress)     how good it is, each process looking at its share
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

from data_shards.loader import Loader
from data_shards.progress import Progress
from pipeline import distributed
from pipeline.checkpoints.state import OBJECTIVE
from pipeline.checkpoints.store import Saved, read_into, save
from pipeline.evaluation.classified.measured import Measured
from pipeline.evaluation.compute import gpu
from pipeline.objectives.classification import Classification
from pipeline.objectives.collectives import sum_
from pipeline.objectives.objective import Objective
from pipeline.training.assembly import prepare
from pipeline.training.settings import TrainerConfig
from pipeline.views import Views


def meet(trainer: TrainerConfig) -> torch.device:
    """Where this process computes. The processes of the job meet, unless they have: those of a resumed run have not."""
    device = torch.device("cpu")
    if trainer.on_gpu:
        device = gpu()
        torch.cuda.set_device(device)
    if trainer.processes > 1 and not dist.is_initialized():
        backend = "nccl" if trainer.on_gpu else "gloo"
        dist.init_process_group(backend, rank=distributed.rank(), world_size=trainer.processes)
    return device


def load(
    objective: Objective, checkpoint: Path, trainer: TrainerConfig, device: torch.device, kind: str = OBJECTIVE
) -> None:
    """Make an objective from the meta device the one that a checkpoint holds, in place, in evaluation mode.

    It is sharded as `trainer` says, and computes in fp32, or in fp64 where that trained. `kind` is what the checkpoint
    calls it. A collective.
    """
    trainer = replace(trainer, recompute="none", pieces=1, compile=False)
    prepare(objective, trainer if trainer.precision == "fp64" else replace(trainer, precision="fp32"), device.type)
    objective.to_empty(device=device)
    tensors = get_model_state_dict(objective)
    read_into(checkpoint, tensors, kind=kind)
    set_model_state_dict(objective, tensors)
    objective.eval()
    if isinstance(objective, FSDPModule):
        register_fsdp_forward_method(objective, "scores")


def keep(objective: Objective, folder: Path, step: int) -> Saved:
    """Write an objective as a checkpoint without a state of training. A collective."""
    return save(folder, {OBJECTIVE: get_model_state_dict(objective)}, step=step, consumed=0, keep=1)


@torch.no_grad()
def classify(objective: Classification, loader: Loader, progress: Progress) -> Measured:
    """How good it is on the samples of all processes' loaders, in all of them. A collective, also in each batch."""
    device = next(objective.parameters()).device
    classes = objective.classifier.out_features
    found = Measured.of(torch.empty(0, classes), torch.empty(0, dtype=torch.int64), 0)
    for batch in loader:
        views, own = Views.of(batch), torch.from_numpy(batch.own)
        crops = views.crops[0][:1]
        if not len(own):  # the others have samples left, and wait for this process in every layer
            crops = crops.new_zeros(1, 1, *crops.shape[2:])
        scores = objective.scores(crops.to(device, non_blocking=True))[: len(own)].cpu()
        found += Measured.of(scores[own], views.labels[own], len(own))
        progress.update(loader.world * len(own))
    return found.summed(lambda part: sum_(part.to(device)).cpu())
