"""What an objective sees of a batch: crops grouped by size, and which samples they are of.

Crops stay bytes until they are on the device. The loader's arrays hold rows of RGB; seen as (3, height, width) that is
torch's channels_last layout, so nothing is copied on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from data_shards.batch import Batch
from pipeline.views.colour import colour
from pipeline.views.draw import COLOURS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of RGB between 0 and 1; SEER's too."""


@dataclass(frozen=True, slots=True)
class Views:
    """The crops of a batch, and their samples."""

    crops: tuple[Tensor, ...]
    """For each group of equal size, in the order of the recipe: uint8 (views, batch, 3, size, size), channels_last."""
    indices: Tensor
    """Global index of each sample within its split, int64 (batch)."""
    labels: Tensor
    """Class of each sample, -1 where it has none, int64 (batch)."""
    colours: NDArray[Any] | None = None
    """What `coloured` is still to do to each crop, COLOURS records (all views, batch); None where it is done."""

    @classmethod
    def of(cls, batch: Batch) -> Views:
        """The views of a loader's batch; they share its memory, which the loader uses again after a few batches."""
        arrays, colours = batch.arrays, None
        if arrays[-1].ndim == 3:  # no pictures: the loader left colours to the device
            arrays, colours = arrays[:-1], arrays[-1].view(COLOURS)[..., 0]
        crops = tuple(torch.from_numpy(array).permute(0, 1, 4, 2, 3) for array in arrays)
        return cls(crops, torch.from_numpy(batch.indices), torch.from_numpy(batch.labels), colours)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side of the crops of each group, pixels."""
        return tuple(crops.shape[-1] for crops in self.crops)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Views:
        """The same views on another device; draws for colours stay on the CPU, which plans by them."""
        moved = [tensor.to(device, non_blocking=non_blocking) for tensor in (*self.crops, self.indices, self.labels)]
        return Views(tuple(moved[:-2]), moved[-2], moved[-1], self.colours)

    def coloured(self) -> Views:
        """The views as an objective is to see them: with colours changed, where the loader has left that."""
        if self.colours is None:
            return self
        crops, first = [], 0
        for group in self.crops:
            crops.append(colour(group, self.colours[first : first + len(group)]))
            first += len(group)
        return Views(tuple(crops), self.indices, self.labels)


def normalise(
    crops: Tensor,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """(crops / 255 - mean) / std on the device of `crops`, in channels_last.

    crops: uint8 (N, 3, S, S). Computed in fp32 and rounded to `dtype` once: bfloat16 where autocast would cast anyway.
    """
    factor, shift = _affine(tuple(mean), tuple(std), crops.device)
    images = crops.to(torch.float32, memory_format=torch.channels_last)
    return images.mul_(factor).add_(shift).to(dtype)


@lru_cache(maxsize=16)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Factor and shift (1, 3, 1, 1). Kept, because every copy of a constant to a GPU waits for it."""
    with torch.inference_mode(False):  # tensors born in inference mode could not be used in training later
        centre, spread = torch.tensor(mean), torch.tensor(std)
        factor, shift = 1 / (255 * spread), -centre / spread
        return factor.view(1, -1, 1, 1).to(device), shift.view(1, -1, 1, 1).to(device)
