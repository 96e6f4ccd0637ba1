"""A run that is killed goes on with the same samples and the same crops, on fewer processes or on more."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_shards.ledger import Ledger, entries, ledgers_in
from pipeline import config
from pipeline.checkpoints.store import latest
from pipeline.stages.pretrain import Config, loader_for
from tests.commands import Done, write_recipes
from tests.data_shards.pictures import Listed, broken_jpeg, jpeg, pack_into
from tests.pipeline.training.recorded import samples_of

STEPS, BATCH = 12, 32
BAD = {3, 50, 51}

Steps = dict[int, list[list[Any]]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 samples in shards of 16, three of which cannot be decoded; a directory that no run of `shard` made."""
    out = tmp_path_factory.mktemp("shards")
    images = [(str(n), "train", None, broken_jpeg(n) if n in BAD else jpeg(n, 30, 30)) for n in range(100)]
    pack_into(out, Listed(images), samples_per_shard=16, probe="header")
    return out


def words(shards: Path, out: Path, devices: int) -> list[str]:
    trainer = ("trainer.watch_every=0 steps", "trainer.threads=2", f"trainer.devices={devices}")
    return [f"shards={shards}", f"out={out}", "max_bad=1", "seed=7", *trainer]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipes(tmp_path_factory.mktemp("recipes"), ["pretrain"]) / "pretrain.yaml"


@pytest.fixture(scope="module")
def expected(shards: Path, recipe: Path) -> Steps:
    """What each step is to train on: as one process loads it that nobody disturbs."""
    settings = config.load(Config, str(recipe), words(shards, shards / "unused", 1))
    with loader_for(settings, ledger=Ledger(max_rate=1)) as loader:
        return {batch.number: sorted(samples_of(batch)) for batch in itertools.islice(loader, STEPS)}


def start(folder: Path, recipe: Path, shards: Path, out: Path, processes: int) -> subprocess.Popen[str]:
    """The run on so many processes, as torchrun starts them, in a process group of its own."""
    folder.mkdir()
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*(torchrun if processes > 1 else []), "-m", "tests.pipeline.training.recorded", str(folder)]
    return subprocess.Popen(
        [sys.executable, *command, "pretrain", str(recipe), *words(shards, out, processes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def lines(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            try:
                yield path.name, json.loads(line)
            except ValueError:  # killed while it wrote
                continue


def trained_on(folder: Path, processes: int) -> Steps:
    """The samples of each step that all processes recorded."""
    steps: dict[int, list[list[Any]]] = defaultdict(list)
    count: dict[int, int] = defaultdict(int)
    for _, line in lines(folder):
        steps[line["step"]] += line["samples"]
        count[line["step"]] += 1
    return {step: sorted(samples) for step, samples in steps.items() if count[step] == processes}


@pytest.fixture(scope="module")
def killed(shards: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The directory of a run on two processes that was killed in its sixth step or soon after, and its records."""
    out, folder = tmp_path_factory.mktemp("killed") / "run", tmp_path_factory.mktemp("records") / "two"
    process = start(folder, recipe, shards, out, 2)
    deadline = time.monotonic() + 200
    while len({name for name, line in lines(folder) if line["step"] >= 5}) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for path in folder.glob("*.jsonl"):  # torchrun gives each process a group of its own
        os.kill(int(path.stem), signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=100)
    return out, folder


@pytest.mark.slow
def test_two_processes_share_the_samples_of_one(killed: tuple[Path, Path], expected: Steps) -> None:
    steps = trained_on(killed[1], 2)
    assert set(steps) >= set(range(6))
    assert steps == {step: expected[step] for step in steps}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 4])
def test_a_killed_run_goes_on_with_the_same_samples_on(
    processes: int, killed: tuple[Path, Path], expected: Steps, shards: Path, recipe: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "run", tmp_path / "records"
    shutil.copytree(killed[0], out)
    saved, _ = latest(out)
    assert saved is not None
    assert 0 < saved.step < STEPS
    assert saved.stream["consumed"] == saved.step * BATCH
    process = start(folder, recipe, shards, out, processes)
    output, errors = process.communicate(timeout=200)
    done = Done(process.returncode, output, errors)
    assert done.status == 0, done.errors
    assert f"going on from step {saved.step} of {STEPS}" in done.output
    assert trained_on(folder, processes) == {step: expected[step] for step in range(saved.step, STEPS)}
    positions = [entry["position"] for path in ledgers_in(out) for entry in entries(path)]
    assert len(positions) == len(set(positions)), "a bad sample has one line, although some steps were done twice"
    assert 3 * BATCH * STEPS // 100 <= len(positions) <= 3 * (BATCH * STEPS // 100 + 2)
