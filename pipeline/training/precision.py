"""What is computed, sent and summed in which precision.

                      bf16, fp16                    fp32     fp64
    backbone          autocast: 16 bits             fp32     fp64
    BatchNorm         statistics, affine: fp32      fp32     fp64
    heads, loss       fp32                          fp32     fp64
    weights, state    fp32                          fp32     fp64

Lightning's own precision stays at 32-true: what it calls mixed does not know fp16 on FSDP2.
"""

from __future__ import annotations

import torch

from pipeline.training.settings import TrainerConfig

LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The precisions of 16 bits."""


def autocast(trainer: TrainerConfig, device: torch.device) -> torch.autocast:
    """The context of an objective's forward pass."""
    dtype = LOW.get(trainer.precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def gathered(trainer: TrainerConfig) -> torch.dtype | None:
    """In which precision sharded weights of blocks are sent; None for their own."""
    return LOW.get(trainer.precision) if trainer.gather == "low" else None


def reduced(trainer: TrainerConfig) -> torch.dtype | None:
    """In which precision gradients of blocks are summed; None for that of the weights, which is what fp64 asks for."""
    if trainer.precision == "fp64":
        return None
    return torch.bfloat16 if trainer.reduce == "bf16" else torch.float32
