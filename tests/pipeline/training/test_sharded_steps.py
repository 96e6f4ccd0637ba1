"""Whole steps on several processes against one: SwAV, BatchNorm, LARC, frozen prototypes, recomputation together.

Every way to share out an objective is taken through the start that `fit` gives it. In fp64, because training amplifies
rounding: within these ten steps a change of 1e-7 in the weights grows to 1e-4 in the loss, more than a defect might.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.tensor import DTensor

from pipeline.checkpoints.state import set_training_state, training_state
from pipeline.objectives import Progress, SwAV
from pipeline.training.assembly import materialise, prepare
from pipeline.training.larc import LARC
from pipeline.training.optimizers import SGD
from pipeline.training.precision import autocast
from pipeline.training.settings import TrainerConfig
from pipeline.training.sharding import replicate
from tests.distributed import on_processes
from tests.pipeline.networks import random_views, share_of, small_backbone

STEPS, BATCH = 10, 16
CPU = torch.device("cpu")


class Trained(NamedTuple):
    """Losses of this process, and each parameter after the last step and its last gradient, whole."""

    losses: list[float]
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def train(
    rank: int, world: int, trainer: TrainerConfig, steps: int = STEPS, folder: Path | None = None, first: int = 0
) -> Trained:
    """The steps from `first` on, from a checkpoint in `folder` and into another there, where one is given."""
    with torch.device("meta"):
        config = SwAV.Config(prototypes=13, hidden=(16,), dim=8, freeze_prototypes=3)
        objective = config.build(small_backbone())
    prepare(objective, trainer, "cpu")
    materialise(objective, CPU, seed=0)
    called: Any = replicate(objective, trainer) if trainer.layout == "ddp" else objective
    rules = SGD.Config(rate=4.0, weight_decay=1e-4, decay="matrices", larc=LARC.Config(trust=0.02))
    optimizer = rules.build(objective, batch=BATCH)
    losses = []
    if first:
        state = training_state(objective, optimizer)
        dcp.load(state, checkpoint_id=folder / str(first), no_dist=world == 1)
        set_training_state(objective, optimizer, state)
    for step in range(first, steps):
        progress = Progress(step=step, steps=STEPS)
        optimizer.zero_grad()
        with autocast(trainer, CPU):
            loss = called(share_of(random_views(BATCH, seed=step % 2), rank, world), progress).loss
        optimizer.scale(loss).backward()
        objective.adjust_gradients(progress)
        gradients = {name: whole(p.grad) for name, p in objective.named_parameters() if p.grad is not None}
        optimizer.step()
        objective.finish_step(progress)
        losses.append(loss.item())
    if folder:
        dcp.save(training_state(objective, optimizer), checkpoint_id=folder / str(steps), no_dist=world == 1)
    return Trained(losses, {name: whole(p) for name, p in objective.named_parameters()}, gradients)


@functools.cache
def alone(**changes: Any) -> Trained:
    return train(0, 1, TrainerConfig(batch=BATCH, **{"precision": "fp64", **changes}))


def compare(trainer: TrainerConfig, expected: Trained, steps: int = STEPS, **tolerance: float) -> None:
    parts = on_processes(train, trainer.processes, trainer, steps)
    means = [sum(step) / len(parts) for step in zip(*(part.losses for part in parts), strict=True)]
    torch.testing.assert_close(torch.tensor(means), torch.tensor(expected.losses), **tolerance)
    for part in parts:
        for wanted, found in ((expected.weights, part.weights), (expected.gradients, part.gradients)):
            assert list(found) == list(wanted)
            for name in wanted:
                torch.testing.assert_close(
                    found[name], wanted[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}"
                )


def test_the_steps_learn() -> None:
    losses = alone().losses
    assert losses[-1] < losses[0]


GROUPS = ((1,), (2,))
WAYS: dict[str, dict[str, Any]] = {
    "fsdp on two": {"devices": 2},
    "fsdp on four": {"devices": 4},
    "hsdp": {"devices": 2, "nodes": 2, "sharding": "hsdp"},
    "ddp": {"devices": 2, "sharding": "ddp"},
    "fsdp, groups recomputed": {"devices": 2, "recompute": GROUPS},
    "fsdp, blocks recomputed": {"devices": 2, "recompute": ((1,), (1, 2))},
    "hsdp, recomputed": {"devices": 2, "nodes": 2, "sharding": "hsdp", "recompute": "auto"},
    "ddp, recomputed": {"devices": 2, "sharding": "ddp", "recompute": GROUPS},
}


@pytest.mark.parametrize("way", WAYS)
def test_ten_steps_of_swav_with_larc_equal_those_of_one_process_in_loss_gradient_and_weights(way: str) -> None:
    trainer = TrainerConfig(batch=BATCH, precision="fp64", **WAYS[way])
    compare(trainer, alone(), rtol=0, atol=1e-8)


def test_a_run_goes_on_the_same_whatever_shares_it_out(tmp_path: Path) -> None:
    """FSDP on two, HSDP on two by two, DDP on two, then one process: two or three steps each, through checkpoints."""
    ways = [WAYS["fsdp on two"], WAYS["hsdp"], WAYS["ddp"], {}]
    losses: list[float] = []
    for way, (first, last) in zip(ways, [(0, 2), (2, 5), (5, 8), (8, STEPS)], strict=True):
        trainer = TrainerConfig(batch=BATCH, precision="fp64", **way)
        if trainer.processes == 1:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "torch.distributed is disabled")
                parts = [train(0, 1, trainer, last, tmp_path, first)]
        else:
            parts = on_processes(train, trainer.processes, trainer, last, tmp_path, first)
        losses += [sum(step) / len(parts) for step in zip(*(part.losses for part in parts), strict=True)]
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(alone().losses), rtol=0, atol=1e-8)
    for name, expected in alone().weights.items():
        torch.testing.assert_close(parts[0].weights[name], expected, rtol=0, atol=1e-8)


IN_PIECES: dict[str, dict[str, Any]] = {
    "fsdp": {"devices": 2},
    "fsdp, groups recomputed too": {"devices": 2, "recompute": GROUPS},
    "ddp": {"devices": 2, "sharding": "ddp"},
}


@pytest.mark.parametrize("way", IN_PIECES)
def test_in_pieces_several_processes_equal_one(way: str) -> None:
    """Two pieces of crops that come two by two: a piece is a view, whose statistics all processes share."""
    trainer = TrainerConfig(batch=BATCH, precision="fp64", pieces=2, **IN_PIECES[way])
    compare(trainer, alone(pieces=2), rtol=0, atol=1e-8)


class Seen(NamedTuple):
    """Precisions, as the modules of a forward pass found their tensors."""

    weights: dict[str, torch.dtype]
    outputs: dict[str, torch.dtype]
    gradients: set[torch.dtype]
    held: set[torch.dtype]


def look(rank: int, world: int, trainer: TrainerConfig) -> Seen:
    with torch.device("meta"):
        objective = SwAV.Config(prototypes=13, hidden=(16,), dim=8).build(small_backbone())
    prepare(objective, trainer, "cpu")
    materialise(objective, CPU, seed=0)
    weights: dict[str, torch.dtype] = {}
    outputs: dict[str, torch.dtype] = {}

    def note(name: str) -> Any:
        def hook(module: torch.nn.Module, inputs: Any, output: Tensor) -> None:
            weights.update({f"{name}.{key}": p.dtype for key, p in module.named_parameters(recurse=False)})
            outputs[name] = output.dtype

        return hook

    for name, module in objective.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(note(name))
    with autocast(trainer, CPU):
        loss = objective(share_of(random_views(BATCH), rank, world), Progress()).loss
    loss.backward()
    gradients = {p.grad.dtype for p in objective.parameters() if p.grad is not None}
    return Seen(weights, outputs, gradients, {p.dtype for p in objective.parameters()})


@pytest.mark.parametrize("more", [{}, {"nodes": 2, "sharding": "hsdp"}, {"recompute": GROUPS}], ids=str)
def test_in_bf16_only_the_weights_of_blocks_without_batchnorm_travel_in_16_bits(more: dict[str, Any]) -> None:
    trainer = TrainerConfig(batch=BATCH, devices=2, **more)
    seen = on_processes(look, trainer.processes, trainer)[0]
    assert seen.weights["backbone.s2.b1.f.a.weight"] == torch.bfloat16
    low = {name for name, dtype in seen.weights.items() if dtype == torch.bfloat16}
    blocks = {name for name in seen.weights if name.startswith(("backbone.s1.", "backbone.s2."))}
    assert low == {name for name in blocks if not name.rpartition(".")[0].endswith("bn")}
    assert {seen.weights[name] for name in set(seen.weights) - low} == {torch.float32}
    assert seen.outputs["backbone.s2.b1.f.a"] == torch.bfloat16
    assert seen.outputs["prototypes"] == seen.outputs["head.0"] == torch.float32
    assert seen.gradients == seen.held == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_in_fp32_and_fp64_everything_travels_as_it_is(precision: str) -> None:
    seen = on_processes(look, 2, TrainerConfig(batch=BATCH, devices=2, precision=precision))[0]  # type: ignore[arg-type]
    wanted = {torch.float32 if precision == "fp32" else torch.float64}
    assert set(seen.weights.values()) == set(seen.outputs.values()) == seen.gradients == seen.held == wanted


def test_what_is_sent_in_bf16_computes_the_same_as_what_autocast_casts() -> None:
    """The first losses are equal to the bit; later ones have gradients added up in another order."""
    low, fp32 = (
        on_processes(train, 2, TrainerConfig(batch=BATCH, devices=2, gather=how), 3) for how in ("low", "fp32")
    )
    for mine, theirs in zip(low, fp32, strict=True):
        assert mine.losses[0] == theirs.losses[0]
        assert mine.losses == pytest.approx(theirs.losses, rel=2e-2)


def difference(found: Trained, expected: Trained) -> float:
    """Distance of the first gradients, relative to their size."""
    pairs = [(found.gradients[name] - wanted, wanted) for name, wanted in expected.gradients.items()]
    return float(sum(a.square().sum() for a, _ in pairs) / sum(b.square().sum() for _, b in pairs)) ** 0.5


@pytest.mark.parametrize("sharding", ["fsdp", "ddp"])
def test_a_gradient_in_bf16_is_near_that_of_fp32_and_nearer_when_summed_in_fp32(sharding: str) -> None:
    expected = train(0, 1, TrainerConfig(batch=BATCH, precision="fp32"), 1)
    errors = {}
    for reduce in ("fp32", "bf16"):
        trainer = TrainerConfig(batch=BATCH, devices=2, sharding=sharding, reduce=reduce, precision="fp32")  # type: ignore[arg-type]
        errors[reduce] = difference(on_processes(train, 2, trainer, 1)[0], expected)
    assert errors["fp32"] < 1e-4
    assert 1e-4 < errors["bf16"] < 1e-2
    low = on_processes(train, 2, TrainerConfig(batch=BATCH, devices=2, sharding=sharding), 1)[0]  # type: ignore[arg-type]
    alone_in_bf16 = train(0, 1, TrainerConfig(batch=BATCH), 1)
    assert difference(low, alone_in_bf16) < 0.5 * difference(alone_in_bf16, expected) + 0.1
