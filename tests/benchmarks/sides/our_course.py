"""Our SwAV on CIFAR-10: the recipe's network, crops, objective and optimizer, over our loader."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from data_shards.batch import Batch
from data_shards.loader import Loader
from pipeline.objectives import Objective, Progress
from pipeline.stages import pretrain
from pipeline.training.assembly import materialise
from pipeline.views import Views
from tests.benchmarks.side import serve
from tests.benchmarks.sides.course import Budget, accuracy, recipe

STEPS = 100_000
"""Into which a schedule's course is divided."""


class Running:
    """The training of this process."""

    config: pretrain.Config
    objective: Objective
    optimizer: torch.optim.Optimizer
    loader: Loader
    batches: Iterator[Batch]
    budget: Budget
    shards: str
    threads: int


def start(shards: str, seconds: float, seed: int, threads: int, weights: str) -> dict[str, float]:
    """Build what trains, and write the backbone's weights for the other sides; gives what is known of it."""
    torch.set_num_threads(threads)
    Running.config = config = recipe(shards, seed, threads)
    with torch.device("meta"):
        Running.objective = objective = config.objective.build(config.model.build())
    materialise(objective, torch.device("cpu"), seed)
    Running.optimizer = config.optimizer.build(objective, batch=config.trainer.batch)
    Running.loader = pretrain.loader_for(config)
    Running.batches = iter(Running.loader)
    Running.budget, Running.shards, Running.threads = Budget(seconds), shards, threads
    torch.save(objective.backbone.state_dict(), weights)
    next(Running.batches)
    return {"batch": config.trainer.batch, "parameters": sum(p.numel() for p in objective.backbone.parameters())}


def train(seconds: float) -> dict[str, float]:
    """Train for so many seconds of the budget."""
    Running.budget.spend(seconds, _step)
    return {"spent": Running.budget.spent, "steps": Running.budget.steps}


def measure(bank: int, queries: int) -> float:
    """kNN accuracy."""
    backbone = Running.objective.backbone
    return accuracy(backbone, Running.shards, Running.config, bank, queries, Running.threads)


def _step(share: float) -> None:
    config, objective, optimizer = Running.config, Running.objective, Running.optimizer
    factor = config.schedule.factor(int(share * (STEPS - 1)), STEPS, Running.loader.samples / config.trainer.batch)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    progress = Progress(step=Running.budget.steps, steps=STEPS)
    with torch.autocast("cpu", torch.bfloat16):
        outcome = objective(Views.of(next(Running.batches)).coloured(), progress)
    outcome.loss.backward()
    objective.adjust_gradients(progress)
    optimizer.step()
    optimizer.zero_grad()
    objective.finish_step(progress)


if __name__ == "__main__":
    serve(start=start, train=train, measure=measure)
