"""Our training step as `pretrain` runs it: stage, Lightning, loader, recording and all; only decoding is left out.

The stage runs over a loader whose crops are noise that lies in memory and which gives a batch when it is told to.
Lightning fetches one batch ahead: when it asks for the next but one, a step is done. Training has the main thread, as
always; jobs are answered by another.
"""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_shards.batch import Arrays, Batch, Draw
from data_shards.images import encode_jpeg
from data_shards.loader import Loader
from data_shards.pack import pack
from data_shards.packing.settings import PackSettings
from data_shards.readers.image_folder import ImageFolder
from data_shards.stream import ShardSet
from pipeline.models.regnet import RegNet
from pipeline.objectives import SwAV
from pipeline.runs import Run
from pipeline.stages import pretrain
from pipeline.training.settings import TrainerConfig
from pipeline.views import Crops, MultiCrop
from tests.benchmarks import inputs
from tests.benchmarks.side import serve
from tests.benchmarks.sides.parts import Clock

WARM = 12
"""Steps before any that count: the first ten allocate and set up kernels, and take up to twice as long."""
CLOCK = Clock()
TRAINING: queue.Queue[Callable[[], None]] = queue.Queue()
"""What the main thread is to do."""


class Still:
    """A transform that decodes nothing: its arrays hold noise from the start."""

    def __init__(self, crops: Sequence[Sequence[int]]) -> None:
        self.crops, self.made = crops, 0

    def allocate(self, batch: int) -> Arrays:
        draw, self.made = np.random.default_rng(self.made), self.made + 1
        return tuple(draw.integers(0, 256, (count, batch, size, size, 3), np.uint8) for size, count in self.crops)

    def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
        pass


class Gated(Loader):
    """Gives a batch when it may."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.asked = threading.Semaphore(0)
        self.orders: queue.Queue[Callable[[], None] | None] = queue.Queue()
        """What the thread that trains is to do next: give the batch, or something else before it."""
        self.failure: BaseException | None = None
        self.profile: torch.profiler.profile | None = None
        """Entered where the next step begins and left where it ends, in the thread that trains."""

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            self.asked.release()
            while (order := self.orders.get()) is not None:
                order()
            profile = self.profile
            if profile is not None:
                profile.__enter__()
            yield batch
            if profile is not None:
                profile.__exit__(None, None, None)
                self.profile = None

    def give(self, count: int) -> None:
        """Give so many batches, each when the one before it has been asked for. Raises what ended the stage."""
        for _ in range(count):
            self.orders.put(None)
            while not self.asked.acquire(timeout=1):
                if self.failure is not None:
                    raise RuntimeError("the stage has ended") from self.failure

    def between_steps(self, function: Callable[[], float]) -> float:
        """What a function gives in the thread that trains.

        In any other it would begin a second team of OpenMP's threads. From then on libgomp takes the cores for
        overcommitted and puts every thread to sleep at once, which makes a step half as long again.
        """
        found: queue.Queue[float] = queue.Queue()
        self.orders.put(lambda: found.put(function()))
        return found.get(timeout=60)


class Running:
    """The run of this process."""

    loader: Gated
    batch: int
    folder: tempfile.TemporaryDirectory[str]


def start(batch: int, crops: list[list[int]], size: str, prototypes: int, recompute: bool = False) -> None:
    """Begin a run with crops [side, count] of an image, each block recomputed or none, and make some steps."""
    Running.folder, Running.batch = tempfile.TemporaryDirectory(prefix="step-"), batch
    folder = Path(Running.folder.name)
    noise = np.random.default_rng(0)
    images = [encode_jpeg(noise.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(2 * batch)]
    reader = ImageFolder.Config(path=str(inputs.lay_out(images, len(images), folder / "images"))).build()
    pack(reader, folder / "shards", PackSettings(workers=1))
    shards = ShardSet(folder / "shards")
    Running.loader = loader = Gated(shards, Still(crops), batch=batch, threads=1)
    pretrain.loader_for = lambda *_, **__: loader
    model = RegNet.Config(size=size)
    each = tuple(tuple(range(1, depth + 1)) for depth in model.stages().depths)
    config = pretrain.Config(
        shards=str(folder / "shards"),
        model=model,
        views=MultiCrop.Config(crops=tuple(Crops(size=side, count=count, scale=(0.1, 1.0)) for side, count in crops)),
        objective=SwAV.Config(prototypes=prototypes, freeze_prototypes=0),
        trainer=TrainerConfig(
            duration="1m steps",
            batch=batch,
            recompute=each if recompute else "none",
            accelerator="cpu",
            checkpoint_every="50%",
            watch_every="0 steps",
            log_every=1,
            wandb="off",
        ),
    )
    run = Run.open(folder / "run", "benchmark", "")
    CLOCK.install()

    def train() -> None:
        try:
            pretrain.run(config, {}, run)
        except BaseException as error:
            loader.failure = error

    TRAINING.put(train)
    while not loader.asked.acquire(timeout=1):
        if loader.failure is not None:
            raise RuntimeError("the stage has ended") from loader.failure
    loader.give(WARM)


def steps(count: int) -> int:
    """Run so many steps; gives how many images."""
    Running.loader.give(count)
    return count * Running.batch


def parts(count: int) -> list[dict[str, float]]:
    """Seconds by part of each of so many steps."""
    found = []
    for _ in range(count):
        CLOCK.clear()
        began = time.perf_counter()
        Running.loader.give(1)
        found.append(CLOCK.of_step(time.perf_counter() - began))
    return found


def operators(rows: int) -> str:
    """torch's own table of where the time of one step goes, by operator."""
    profile = Running.loader.profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    Running.loader.give(1)
    return str(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows, max_name_column_width=50))


def save(path: str) -> float:
    """Write the backbone and a batch of crops for the other side; gives their mean feature, see `mean_feature`."""
    return Running.loader.between_steps(lambda: _save(path))


def _save(path: str) -> float:
    assert CLOCK.objective is not None
    backbone = CLOCK.objective.backbone
    crops = [torch.from_numpy(array).permute(0, 1, 4, 2, 3) for array in Running.loader._ring[0]]
    torch.save({"backbone": backbone.state_dict(), "crops": crops}, path)
    assert isinstance(backbone, RegNet)
    return mean_feature(backbone, backbone.prepare(crops[0]))


def mean_feature(backbone: RegNet, images: torch.Tensor) -> float:
    """Mean size of the features of some images, in fp32, with the statistics that training has gathered."""
    backbone.eval()
    with torch.no_grad():
        found = backbone(images.float()).abs().mean()
    backbone.train()
    return float(found)


def answer() -> None:
    """Do the jobs that come, and end this process after the last one, in whatever step training is."""
    serve(start=start, steps=steps, parts=parts, operators=operators, save=save)
    Running.folder.cleanup()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=answer, daemon=True).start()
    TRAINING.get()()
    threading.Event().wait()
