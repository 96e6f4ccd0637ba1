"""The queue holds the last samples of all processes, on each of them, and after any restart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from pipeline.checkpoints.state import set_training_state, training_state
from pipeline.checkpoints.store import latest, restore, save
from pipeline.models.batchnorm import convert
from pipeline.models.initialise import initialise
from pipeline.objectives import Progress, SwAV
from pipeline.objectives.queue import Queue, slots
from tests.distributed import on_processes
from tests.pipeline.networks import in_fp64, random_views, share_of, small_backbone

BATCH, CROPS, DIM = 8, 2, 3


def batch_of(step: int) -> Tensor:
    """Embeddings (crops, batch, dim) that say which crop, step and sample they are of."""
    crop, sample = torch.arange(CROPS).view(-1, 1), torch.arange(BATCH)
    return (100 * step + 10 * crop + sample).float().unsqueeze(-1).expand(-1, -1, DIM)


def filled(rank: int, world: int, steps: int) -> tuple[Tensor, Tensor]:
    queue = Queue(CROPS, 3 * BATCH, DIM)
    for step in range(steps):
        queue.push(batch_of(step).chunk(world, 1)[rank], step)
    return queue.embeddings, queue.share()


@pytest.mark.parametrize("steps", [1, 3, 5])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_it_holds_the_last_batches_of_all_processes_crop_by_crop(world: int, steps: int) -> None:
    parts = on_processes(filled, world, steps) if world > 1 else [filled(0, 1, steps)]
    expected = torch.cat([batch_of(step) for step in range(max(0, steps - 3), steps)], 1)
    for whole, _ in parts:
        assert torch.equal(whole.sort(1).values[:, -expected.shape[1] :], expected.sort(1).values)
        assert torch.equal(whole, parts[0][0])
    assert torch.equal(torch.cat([share for _, share in parts], 1), parts[0][0])


def test_it_is_full_once_every_slot_was_written() -> None:
    queue = Queue(CROPS, 3 * BATCH, DIM)
    assert [queue.is_full(BATCH, step) for step in (0, 2, 3, 100)] == [False, False, True, True]
    assert slots(3840, 256) == 15


def test_a_batch_that_holds_what_is_no_number_is_left_out() -> None:
    queue = Queue(CROPS, 2 * BATCH, DIM)
    for step in range(2):
        queue.push(batch_of(step), step)
    before = queue.embeddings.clone()
    broken = batch_of(2).clone()
    broken[1, 3, 0] = torch.nan
    queue.push(broken, 2)
    assert torch.equal(queue.embeddings, before)


def test_it_does_not_take_part_before_it_is_full_nor_before_its_epoch() -> None:
    torch.manual_seed(0)
    objective = SwAV.Config(prototypes=12, hidden=(16,), dim=8, queue=2 * BATCH, queue_start=1.0).build(
        small_backbone()
    )
    views = random_views(BATCH)

    def loss(step: int, epoch: float) -> float:
        return objective(views, Progress(step=step, epoch=epoch)).loss.item()

    alone = loss(0, 0.0)
    for step in range(2):
        objective(random_views(BATCH, seed=step + 1), Progress(step=step))
        objective.finish_step(Progress(step=step))
    assert loss(1, 2.0) == alone, "not full"
    assert loss(2, 0.9) == alone, "too early"
    assert loss(2, 1.0) != alone


def trained(rank: int, world: int, sharded: bool, folder: Path, until: int) -> tuple[list[float], Tensor]:
    """Losses and the queue of steps up to `until`, from the checkpoint in the folder if there is one; then saved."""
    with torch.device("meta"):
        objective = SwAV.Config(prototypes=12, hidden=(16,), dim=8, queue=3 * BATCH, freeze_prototypes=1).build(
            small_backbone()
        )
    convert(objective)
    objective = in_fp64(objective)
    if sharded:
        mesh = init_device_mesh("cpu", (world,))
        for unit in (*objective.backbone.blocks(), objective):
            fully_shard(unit, mesh=mesh)
    initialise(objective.to_empty(device="cpu"), 0)
    optimizer = torch.optim.SGD(objective.parameters(), 0.5, momentum=0.9)
    saved, _ = latest(folder)
    if saved:
        state = training_state(objective, optimizer)
        restore(saved, state)
        set_training_state(objective, optimizer, state)
    losses = []
    for step in range(saved.step if saved else 0, until):
        progress = Progress(step=step, steps=until)
        optimizer.zero_grad()
        loss = objective(share_of(random_views(BATCH, seed=step), rank, world), progress).loss
        loss.backward()
        for parameter in objective.parameters() if world > 1 and not sharded else ():
            assert parameter.grad is not None
            torch.distributed.all_reduce(parameter.grad, torch.distributed.ReduceOp.SUM)
            parameter.grad /= world
        objective.adjust_gradients(progress)
        optimizer.step()
        objective.finish_step(progress)
        losses.append(loss.item())
    if not saved:
        with pytest.MonkeyPatch.context() as environment:  # where saving looks for who writes the manifest
            environment.setenv("RANK", str(rank))
            environment.setenv("WORLD_SIZE", str(world))
            save(folder, training_state(objective, optimizer), step=until, consumed=until * BATCH, keep=1)
    assert objective.queue is not None
    return losses, objective.queue.embeddings


@pytest.mark.parametrize("sharded", [False, True], ids=["replicas", "shards"])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (2, 4)])
def test_a_run_goes_on_with_its_queue_on_any_number_of_processes(
    before: int, after: int, sharded: bool, tmp_path: Path
) -> None:
    expected, _ = trained(0, 1, False, tmp_path / "one", 7)
    (tmp_path / "cut").mkdir()

    def go(world: int, until: int) -> list[float]:
        job = sharded and world > 1
        parts = (
            on_processes(trained, world, job, tmp_path / "cut", until)
            if world > 1
            else [trained(0, 1, False, tmp_path / "cut", until)]
        )
        assert all(torch.equal(queue, parts[0][1]) for _, queue in parts)
        return [sum(step) / world for step in zip(*(losses for losses, _ in parts), strict=True)]

    assert go(before, 4) + go(after, 7) == pytest.approx(expected, rel=1e-9)
