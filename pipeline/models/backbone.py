"""What every objective and every evaluation sees of a network: uint8 crops in, one vector an image out.

A backbone carries the mean and standard deviation of its input, so that pretraining, probing, fine-tuning and export
cannot disagree about them:

    images = backbone.prepare(views.crops[0])      # uint8 (views, batch, 3, S, S) -> float (views * batch, 3, S, S)
    features = backbone(images)                    # (views * batch, width)

Weights stay contiguous, because FSDP2 shards nothing else; `prepare` gives channels_last images, and convolutions
follow their input (measured on two cores: as fast as channels_last weights).
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from pipeline.models.pooling import average
from pipeline.views.views import normalise

Channels = tuple[float, float, float]


class Backbone(nn.Module, abc.ABC):
    """A network without its classifier."""

    def __init__(self, width: int, mean: Channels, std: Channels) -> None:
        super().__init__()
        self.width = width
        """Length of a feature vector."""
        self.mean, self.std = mean, std

    @abc.abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """The last feature map (images, width, h, w)."""

    @abc.abstractmethod
    def stages(self) -> list[nn.Module]:
        """The stages in forward order; each is a chain of its children, which are residual blocks."""

    def blocks(self) -> list[nn.Module]:
        """The residual blocks in forward order: the units of sharding and of recomputation."""
        return [block for stage in self.stages() for block in stage.children()]

    def forward(self, images: Tensor) -> Tensor:
        """Features averaged over the map (images, width), in fp32 whatever autocast made of the map."""
        found = self.features(images)
        return average(found, torch.promote_types(found.dtype, torch.float32))

    def prepare(self, crops: Tensor) -> Tensor:
        """Normalised images of uint8 crops (..., 3, S, S), in the precision that autocast asks for."""
        device = crops.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else next(self.parameters()).dtype
        images: Tensor = normalise(crops.flatten(0, -4), self.mean, self.std, dtype)
        return images
