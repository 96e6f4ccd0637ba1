"""What only a GPU can show. Everything here skips where there is none.

Arithmetic is compared with the CPU's, which other tests compare with the papers; runs go through the command line, so
that they take whatever way training takes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from data_shards.batch import Batch
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.models.batchnorm import convert
from pipeline.objectives import Progress, SwAV
from pipeline.training.loss_scaling import LossScaler
from pipeline.training.optimizers import SGD
from pipeline.training.prefetch import Moving, prefetched, views_of
from pipeline.views import Crops, MultiCrop, Views
from tests.commands import run, write_recipes
from tests.data_shards.pictures import Listed, jpeg, pack_into
from tests.distributed import on_processes
from tests.pipeline.networks import in_fp64, random_views, small_backbone

GPUS = torch.cuda.device_count()
pytestmark = pytest.mark.skipif(GPUS == 0, reason="there is no GPU that torch can use")
two_gpus = pytest.mark.skipif(GPUS < 2, reason="needs two GPUs")

HERE = torch.device("cuda", 0)
BATCH, PROTOTYPES = 32, 12


@pytest.fixture(autouse=True)
def _whole_fp32() -> Iterator[None]:
    """Without TF32, whose ten bits would hide a defect."""
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


def objective(device: torch.device | str = "cpu") -> SwAV:
    """The same small one every time."""
    torch.manual_seed(0)
    config = SwAV.Config(prototypes=PROTOTYPES, freeze_prototypes=0, hidden=(16,), dim=8)
    return config.build(small_backbone()).to(device)


def gradients(of: SwAV, views: Views, dtype: torch.dtype | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one step, on the CPU in fp64."""
    device = next(of.parameters()).device
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        loss = of(views.to(device), Progress()).loss
    loss.backward()
    found = {name: p.grad.cpu().double() for name, p in of.named_parameters() if p.grad is not None}
    return loss.detach().cpu().double(), found


def angle(x: dict[str, Tensor], y: dict[str, Tensor]) -> float:
    """Cosine between two gradients of a whole network."""
    a, b = (torch.cat([tensor.flatten() for _, tensor in sorted(g.items())]) for g in (x, y))
    return float(a @ b / (a.norm() * b.norm()))


def test_a_step_in_fp64_equals_the_cpus() -> None:
    views = random_views(BATCH)
    expected, slopes = gradients(in_fp64(objective()), views)
    loss, found = gradients(in_fp64(objective()).to(HERE), views)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    for name, slope in slopes.items():
        torch.testing.assert_close(found[name], slope, rtol=1e-6, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("dtype", "near", "cosine"), [(None, 1e-4, 0.999), (torch.bfloat16, 2e-2, 0.9), (torch.float16, 5e-3, 0.98)]
)
def test_a_step_is_near_the_cpus_in(dtype: torch.dtype | None, near: float, cosine: float) -> None:
    views = random_views(BATCH)
    expected, slopes = gradients(in_fp64(objective()), views)
    loss, found = gradients(objective(HERE), views, dtype)
    assert float(loss) == pytest.approx(float(expected), rel=near)
    assert angle(found, slopes) > cosine


def step(of: SwAV, optimizer: SGD, views: Views, dtype: torch.dtype | None = None) -> Tensor:
    """One step as training takes it, with nothing read from the device."""
    progress = Progress()
    with torch.autocast(HERE.type, dtype, enabled=dtype is not None):
        loss = of(views, progress).loss
    optimizer.scale(loss).backward()
    of.adjust_gradients(progress)
    optimizer.step()
    optimizer.zero_grad()
    of.finish_step(progress)
    return loss.detach()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_loss_falls_in(dtype: torch.dtype) -> None:
    of, views = objective(HERE), random_views(BATCH).to(HERE)
    scaler = LossScaler.Config() if dtype == torch.float16 else None
    optimizer = SGD.Config(rate=1.0, larc=None).build(of, batch=BATCH, scaler=scaler)
    losses = [float(step(of, optimizer, views, dtype)) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.05
    assert all(parameter.dtype == torch.float32 for parameter in of.parameters())
    assert int(optimizer.metrics["skipped"]) < 10


def test_too_large_a_loss_scale_leaves_steps_out_and_comes_down() -> None:
    of, views = objective(HERE), random_views(BATCH).to(HERE)
    optimizer = SGD.Config(larc=None).build(of, batch=BATCH, scaler=LossScaler.Config(initial=2.0**60))
    before = {name: parameter.detach().clone() for name, parameter in of.named_parameters()}
    step(of, optimizer, views, torch.float16)
    assert int(optimizer.metrics["skipped"]) == 1
    # Prototypes are brought to length one after every step, also after one that was left out.
    changed = [name for name, p in of.named_parameters() if not torch.allclose(p, before[name], rtol=1e-6, atol=0)]
    assert changed == []
    for _ in range(60):
        step(of, optimizer, views, torch.float16)
    assert int(optimizer.metrics["skipped_in_row"]) == 0
    assert float(optimizer.metrics["loss_scale"]) < 2.0**60


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_a_step_does_not_wait_for_the_device(dtype: torch.dtype | None) -> None:
    of, views = objective(HERE), random_views(BATCH).to(HERE)
    scaler = LossScaler.Config() if dtype == torch.float16 else None
    optimizer = SGD.Config(clip_norm=1.0).build(of, batch=BATCH, scaler=scaler)
    for _ in range(2):  # constants are brought to the device once
        step(of, optimizer, views, dtype)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            step(of, optimizer, views, dtype)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert optimizer.metrics["grad_norm"].isfinite()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    pack_into(out, Listed([(str(n), "train", None, jpeg(n, 48, 40)) for n in range(64)]), samples_per_shard=16)
    return out


def loader(shards: Path, photometric: str) -> Loader:
    kinds = (Crops(count=2, size=32, scale=(0.3, 1.0)), Crops(count=2, size=16, scale=(0.1, 0.3)))
    views = MultiCrop.Config(crops=kinds, photometric=photometric)  # type: ignore[arg-type]
    return Loader(ShardSet(shards), views.build(), batch=8, batches=20, threads=2)


def one_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """As Lightning fetches them."""
    for batch, _ in itertools.pairwise(itertools.chain(batches, [None])):
        assert batch is not None
        yield batch


@pytest.mark.parametrize("photometric", ["cpu", "device"])
def test_prefetched_views_are_those_of_the_loader_in_order(shards: Path, photometric: str) -> None:
    expected = []
    with loader(shards, photometric) as plain:
        for batch in plain:
            views = Views.of(batch).to(HERE).coloured()
            expected.append((batch.number, [crops.cpu() for crops in views.crops], views.indices.cpu()))
    work = torch.randn(2000, 2000, device=HERE)
    count = 0
    with loader(shards, photometric) as again:
        for batch, (number, crops, indices) in zip(one_ahead(iter(prefetched(again, HERE))), expected, strict=True):
            assert isinstance(batch, Moving)
            assert batch.number == number
            for _ in range(20):
                work = (work @ work).tanh_()  # the device is busy, so copies that did not wait would be seen
            views = views_of(batch, HERE)
            assert views.colours is None
            for found, wanted in zip(views.crops, crops, strict=True):
                assert found.device == HERE
                assert found.dtype == torch.uint8
                assert found.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
                assert torch.equal(found.cpu(), wanted)
            assert torch.equal(views.indices.cpu(), indices)
            count += 1
    assert count == 20


def test_a_prefetched_batch_is_taken_without_waiting(shards: Path) -> None:
    of = objective(HERE)
    optimizer = SGD.Config().build(of, batch=8)
    with loader(shards, "cpu") as batches:
        ahead = one_ahead(iter(prefetched(batches, HERE)))
        for _ in range(4):
            step(of, optimizer, views_of(next(ahead), HERE))
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(4):
                step(of, optimizer, views_of(next(ahead), HERE))
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_colours_on_the_gpu_are_those_of_the_cpu(shards: Path) -> None:
    with loader(shards, "device") as batches:
        for batch in batches:
            views = Views.of(batch)
            here, there = views.coloured(), views.to(HERE).coloured()
            for mine, its in zip(here.crops, there.crops, strict=True):
                difference = (mine.int() - its.cpu().int()).abs()
                # A hue at a border may turn the other way; nothing else is off by more than rounding.
                assert (difference > 1).double().mean() < 1e-3


def test_normalised_crops_are_channels_last_and_those_of_the_cpu() -> None:
    backbone, crops = small_backbone(), random_views(4).crops[0]
    expected, found = backbone.prepare(crops), backbone.to(HERE).prepare(crops.to(HERE))
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-6)


def _synchronised(rank: int, world: int, x: Tensor, direction: Tensor) -> list[Tensor]:
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    group = dist.new_group(list(range(world)), backend="nccl")
    layers = nn.Sequential(nn.BatchNorm2d(x.shape[1]))
    convert(layers, group)
    layers.to(device).double()
    mine = x.chunk(world)[rank].to(device).requires_grad_()
    found = layers(mine)
    (found * direction.chunk(world)[rank].to(device)).sum().backward()
    dist.destroy_process_group(group)
    assert mine.grad is not None
    state = layers.state_dict()
    return [tensor.detach().cpu() for tensor in (found, mine.grad, state["0.running_mean"], state["0.running_var"])]


@pytest.mark.parametrize("world", [1, pytest.param(2, marks=two_gpus)])
def test_native_synchronised_batchnorm_is_batchnorm_of_the_global_batch(world: int) -> None:
    draw = torch.Generator().manual_seed(0)
    x, direction = (torch.randn(8, 6, 5, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    plain, whole = nn.BatchNorm2d(6).double(), x.clone().requires_grad_()
    expected = plain(whole)
    (expected * direction).sum().backward()
    found = on_processes(_synchronised, world, x, direction)
    assert whole.grad is not None
    for index, wanted in enumerate((expected.detach(), whole.grad)):
        torch.testing.assert_close(torch.cat([one[index] for one in found]), wanted, rtol=1e-6, atol=1e-7)
    for one in found:
        torch.testing.assert_close(one[2], plain.running_mean, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(one[3], plain.running_var, rtol=1e-6, atol=1e-7)


def losses(shards: Path, out: Path, *settings: str) -> list[float]:
    """The losses of a run of the command line over twelve steps."""
    recipe = write_recipes(out.parent, ["pretrain"]) / "pretrain.yaml"
    words = [f"shards={shards}", f"out={out}", "trainer.watch_every=0 steps", *settings]
    done = run("pretrain", str(recipe), *words)
    assert done.status == 0, done.errors
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


@pytest.mark.slow
def test_a_run_on_a_gpu_has_the_losses_of_one_on_the_cpu(shards: Path, tmp_path: Path) -> None:
    settings = ("trainer.precision=fp64", "views.photometric=cpu")
    expected = losses(shards, tmp_path / "cpu", "trainer.accelerator=cpu", *settings)
    found = losses(shards, tmp_path / "gpu", "trainer.accelerator=cuda", *settings)
    assert len(found) == 12
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_on_a_gpu_starts_as_one_on_the_cpu_in(precision: str, shards: Path, tmp_path: Path) -> None:
    expected = losses(shards, tmp_path / "cpu", "trainer.accelerator=cpu", "trainer.precision=fp32")
    found = losses(shards, tmp_path / "gpu", "trainer.accelerator=cuda", f"trainer.precision={precision}")
    assert len(found) == len(expected) == 12
    assert found[0] == pytest.approx(expected[0], abs=0.05)
    assert np.isfinite(found).all()


@pytest.mark.slow
@two_gpus
@pytest.mark.parametrize("sharding", ["fsdp", "ddp"])
def test_two_gpus_have_the_losses_of_one(sharding: str, shards: Path, tmp_path: Path) -> None:
    settings = ("trainer.accelerator=cuda", "trainer.precision=fp64")
    expected = losses(shards, tmp_path / "one", *settings)
    found = losses(shards, tmp_path / "two", "trainer.devices=2", f"trainer.sharding={sharding}", *settings)
    assert len(found) == 12
    np.testing.assert_allclose(found, expected, atol=2e-6)
