"""A queue: embeddings of the last samples, which make a small batch look larger to Sinkhorn-Knopp (Caron et al. 2020).

Every process holds the whole queue, and uses its share of it. So what a checkpoint has does not depend on who wrote
it, any number of processes goes on from it, and a plain state dict is enough. It costs one collective a step and
little memory: 3,840 embeddings of 2 crops and 128 numbers are 4 MB.

A queue that each process keeps for itself goes wrong there: where buffers are taken to be alike, as VISSL's are, every
process resumes with the first one's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.objectives.collectives import gathered, rank, world_size


class Queue(nn.Module):
    """The embeddings of the crops of the last `length` samples of all processes, a slot for each batch.

    The batch of step s lies in slot s modulo the number of slots, so where training stands says where to write.
    """

    embeddings: Tensor

    def __init__(self, crops: int, length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(crops, length, dim))

    def reset_buffers(self) -> None:
        """Empty it in place."""
        self.embeddings.zero_()

    def is_full(self, batch: int, step: int) -> bool:
        """Whether every slot has been written, `step` batches of `batch` samples of all processes being done."""
        return step >= slots(self.embeddings.shape[1], batch)

    def share(self) -> Tensor:
        """This process's part (crops, length / processes, dim)."""
        return self.embeddings.chunk(world_size(), 1)[rank()]

    @torch.no_grad()
    def push(self, embeddings: Tensor, step: int) -> None:
        """Put the embeddings (crops, batch, dim) of every process in place of the oldest batch. A collective.

        A batch that holds what is no number is left out: it would spoil the codes of all steps until it is the oldest.
        """
        new = gathered(embeddings, 1)
        batch = new.shape[1]
        first = step % slots(self.embeddings.shape[1], batch) * batch
        slot = self.embeddings[:, first : first + batch]
        slot.copy_(torch.where(new.isfinite().all(), new, slot))


def slots(length: int, batch: int) -> int:
    """Batches that a queue of `length` samples holds. Raises ValueError where that is no whole number."""
    if length % batch:
        below, above = length // batch * batch, (length // batch + 1) * batch
        fits = f"{below} or {above}" if below else str(above)
        raise ValueError(f"objective.queue: {length} samples are no whole number of batches of {batch}; make it {fits}")
    return length // batch
