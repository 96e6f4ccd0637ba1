"""lightly's SwAV on CIFAR-10: its transform, data set, head, prototypes and loss on our recipe's network and crops.

Heads, optimizer and schedule are those of the SwAV in lightly's own CIFAR-10 benchmark
(docs/source/getting_started/benchmarks/cifar10_benchmark.py): projection 512 → 128, 512 prototypes, Adam at 1e-3 for a
batch of 128 with weight decay 1e-6, half a cosine. Crops are our recipe's, which are more and smaller than that
benchmark's two. `tuned` adds channels_last and bf16 autocast, which it has not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from lightly.data import LightlyDataset
from lightly.loss import SwaVLoss
from lightly.transforms import SwaVTransform
from torch.utils.data import DataLoader

from pipeline.models.regnet import RegNet
from pipeline.stages import pretrain
from pipeline.views import MultiCrop
from tests.benchmarks.side import serve
from tests.benchmarks.sides.course import Budget, accuracy, recipe
from tests.benchmarks.sides.with_lightly_step import SwaV

PROTOTYPES, HIDDEN, RATE, REFERENCE_BATCH, DECAY = 512, 512, 1e-3, 128, 1e-6


class Running:
    """The training of this process."""

    config: pretrain.Config
    model: SwaV
    optimizer: torch.optim.Optimizer
    criterion = SwaVLoss()
    loader: DataLoader[Any]
    batches: Iterator[Any]
    budget: Budget
    shards: str
    large: int
    rate: float
    tuned: bool
    threads: int


def start(
    shards: str,
    folder: str,
    seconds: float,
    seed: int,
    threads: int,
    workers: int,
    batch: int,
    weights: str,
    tuned: bool,
) -> dict[str, float]:
    """Build what trains, with a backbone of these weights; gives what is known of it."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    Running.config = config = recipe(shards, seed, threads)
    assert isinstance(config.views, MultiCrop.Config)
    backbone = RegNet.Config.build(config.model)
    backbone.load_state_dict(torch.load(weights))
    Running.model = model = SwaV(backbone, backbone.width, PROTOTYPES, HIDDEN)
    if tuned:
        model.to(memory_format=torch.channels_last)
    Running.rate, Running.tuned, Running.threads = RATE * batch / REFERENCE_BATCH, tuned, threads
    Running.optimizer = torch.optim.Adam(model.parameters(), lr=Running.rate, weight_decay=DECAY)
    Running.large, Running.shards, Running.budget = config.views.crops[0].count, shards, Budget(seconds)
    data: Any = LightlyDataset(input_dir=folder, transform=_transform(config.views, config.model))
    Running.loader = DataLoader(
        data, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    Running.batches = iter(Running.loader)
    next(Running.batches)
    return {"batch": batch, "parameters": sum(p.numel() for p in backbone.parameters())}


def train(seconds: float) -> dict[str, float]:
    """Train for so many seconds of the budget."""
    Running.budget.spend(seconds, _step)
    return {"spent": Running.budget.spent, "steps": Running.budget.steps}


def measure(bank: int, queries: int) -> float:
    """kNN accuracy."""
    assert isinstance(Running.model.backbone, RegNet)
    return accuracy(Running.model.backbone, Running.shards, Running.config, bank, queries, Running.threads)


def _step(share: float) -> None:
    model, layout = Running.model, torch.channels_last if Running.tuned else torch.contiguous_format
    for group in Running.optimizer.param_groups:
        group["lr"] = Running.rate * 0.5 * (1 + math.cos(math.pi * share))
    try:
        views = next(Running.batches)[0]
    except StopIteration:
        Running.batches = iter(Running.loader)
        views = next(Running.batches)[0]
    model.prototypes.normalize()
    with torch.autocast("cpu", torch.bfloat16, enabled=Running.tuned):
        scores = [model(view.contiguous(memory_format=layout)) for view in views]
        loss = Running.criterion(scores[: Running.large], scores[Running.large :])
    loss.backward()
    Running.optimizer.step()
    Running.optimizer.zero_grad()


def _transform(views: MultiCrop.Config, model: RegNet.Config) -> Any:
    """The recipe's crops in lightly's words."""
    bright, contrast, saturation, hue = views.jitter_ranges
    return SwaVTransform(
        crop_sizes=tuple(kind.size for kind in views.crops),  # type: ignore[arg-type]
        crop_counts=tuple(kind.count for kind in views.crops),  # type: ignore[arg-type]
        crop_min_scales=tuple(kind.scale[0] for kind in views.crops),  # type: ignore[arg-type]
        crop_max_scales=tuple(kind.scale[1] for kind in views.crops),  # type: ignore[arg-type]
        hf_prob=views.flip,
        cj_prob=views.jitter_probability,
        cj_strength=views.jitter,
        cj_bright=bright,
        cj_contrast=contrast,
        cj_sat=saturation,
        cj_hue=hue,
        random_gray_scale=views.grayscale,
        gaussian_blur=views.blur,
        sigmas=views.blur_sigma,
        normalize={"mean": list(model.mean), "std": list(model.std)},
    )


if __name__ == "__main__":
    serve(start=start, train=train, measure=measure)
