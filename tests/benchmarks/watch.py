"""What watching kNN accuracy takes from training: for how long a step stands still, and how much slower others become.

    python -m tests.benchmarks.watch --json FILE [--size regnety_800mf] [--view 64] [--threads 2]

One process takes training steps of a backbone on a CPU, alone and with the measuring beside it, in turn. See README.md
here for what each row means.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from torch import nn

from data_shards.reading.cache import CacheSettings
from pipeline import config
from pipeline.checkpoints.state import whole_tensors
from pipeline.evaluation.observing import Observing, Task
from pipeline.models.regnet import RegNet
from pipeline.stages import shard
from pipeline.stages.stage import execute
from pipeline.training.observer import Observer
from pipeline.views import Evaluation
from tests.benchmarks import peers
from tests.benchmarks.rounds import Row, commit, save, table

STEPS, BATCH = 8, 16


class Training(nn.Module):
    """A backbone, and steps of it on noise."""

    def __init__(self, model: RegNet.Config, side: int) -> None:
        super().__init__()
        self.backbone = model.build().to(memory_format=torch.channels_last)
        self.images = torch.rand(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=1e-3)

    def steps(self) -> list[float]:
        """Seconds of each."""
        seconds = []
        for _ in range(STEPS):
            began = time.perf_counter()
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = self.backbone(self.images).float().square().mean()
            loss.backward()
            self.optimizer.step()
            seconds.append(time.perf_counter() - began)
        return seconds

    def copied(self) -> dict[str, torch.Tensor]:
        """What a watch hands over."""
        found = whole_tensors(self, "backbone.")
        return {name.removeprefix("backbone."): t.detach().to("cpu", copy=True).contiguous() for name, t in found}


def row(name: str, ours: Sequence[float], other: Sequence[float], asked: str, of: str) -> Row:
    """Medians in ms; the ratio is taken within a round."""
    ratios = [a / b for a, b in zip(ours, other, strict=True)]
    return Row(
        name=name,
        ours=median(ours) * 1e3,
        peer=median(other) * 1e3,
        ratio=median(ratios),
        low=min(ratios),
        high=max(ratios),
        unit="ms",
        asked=asked,
        of=of,
    )


def stalls(training: Training, observer: Observer, here: Observing, work: Path, rounds: int) -> Row:
    """Handing over beside measuring here and now, as long as training would stand still for it."""
    ours, other = [], []
    for number in range(rounds):
        began = time.perf_counter()
        observer.hand_over(number, training.copied())
        ours.append(time.perf_counter() - began)
        observer._finish_writing()
        began = time.perf_counter()
        here.measure(observer.folder / f"{number:09d}.safetensors")
        other.append(time.perf_counter() - began)
        observer.done(number)
    return row("watch_stall", ours, other, "≤ 0.10", "handing over / measuring here")


def beside(name: str, training: Training, busy: Callable[[], Iterator[None]], rounds: int) -> Row:
    """Steps with the measuring beside them, and without."""
    ours, other = [], []
    for _ in range(rounds):
        other.append(median(training.steps()))
        for _ in busy():
            ours.append(median(training.steps()))
    return row(name, ours, other, "", "step beside measuring / step alone")


def main() -> None:
    """Measure, print a table, write a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.watch", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="file to write the figures to")
    parser.add_argument("--size", default="regnety_800mf", help="backbone")
    parser.add_argument("--view", type=int, default=64, help="side of the pictures, in pixels")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of training")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = config.build(RegNet.Config, {"size": given.size})
    view = config.build(Evaluation.Config, {"size": given.view, "resize": given.view})
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        shards = Path(work) / "shard"
        execute(
            "shard", config.build(shard.Config, {"out": str(shards), "source": {"name": "photographs", "tile": 64}})
        )
        sets = {"bank": (str(shards), "train"), "query": (str(shards), "test")}
        task = Task(model=model, view=view, cache=CacheSettings(), **sets)
        training, observer, here = Training(model, given.view), Observer(Path(work), task), Observing(task)
        training.steps()

        def process() -> Iterator[None]:
            observer.hand_over(observer_steps.pop(), training.copied())
            observer._finish_writing()
            observer.poll()
            time.sleep(5)  # torch is imported
            yield
            assert observer.is_busy
            observer._end()
            observer.waiting.clear()

        def thread() -> Iterator[None]:
            path = Path(work) / "backbone.safetensors"
            observer.hand_over(observer_steps.pop(), training.copied())
            observer._finish_writing()
            next(observer.folder.iterdir()).rename(path)
            observer._take_written()
            observer.waiting.clear()
            measuring = threading.Thread(target=here.measure, args=(path,))
            measuring.start()
            yield
            assert measuring.is_alive()
            measuring.join()

        observer_steps = list(range(1000, 2000))
        rows = [stalls(training, observer, here, Path(work), given.rounds)]
        observer._take_written()
        observer.waiting.clear()
        rows += [beside("watch_process", training, process, given.rounds)]
        rows += [beside("watch_thread", training, thread, given.rounds)]
        observer.close(keep=False)
    versions = {"ours": {"commit": commit(), **peers.versions_of(sys.executable, "torch")}}
    save(given.json, rows, versions, size=given.size, view=given.view, threads=given.threads)
    print(table(rows))


if __name__ == "__main__":
    main()
