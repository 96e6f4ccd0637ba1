"""Real training on a real SLURM, in a few starts: processes that import torch are slow to come."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.artifacts import Artifact
from pipeline.jobs.starts import Starts, newest_step
from tests.commands import run, write_recipes
from tests.slurm.cluster import Cluster, until
from tests.slurm.scripts import ended, submit

heeds_signals = pytest.mark.skipif(
    find_spec("pipeline.training.signals") is None, reason="training does not heed signals yet"
)


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    """A pretraining of 60 steps, saved at every second."""
    folder = write_recipes(tmp_path)
    packed = run("shard", str(folder / "shard.yaml"), f"out={tmp_path / 'shard'}")
    assert packed.status == 0, packed.errors
    own = ("trainer.duration=60 steps", "trainer.watch_every=0 steps", f"shards={tmp_path / 'shard'}")
    return (str(folder / "pretrain.yaml"), f"out={tmp_path / 'run'}", *own)


def reaches(out: Path, step: int) -> Callable[[], bool]:
    return lambda: newest_step(out) >= step


def recorded(out: Path) -> list[int]:
    records = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [record["step"] for record in records if "loss" in record]


def test_a_lost_node_and_another_number_of_nodes_lose_no_step(
    cluster: Cluster, words: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    job = submit(cluster, "pretrain", *words, options=["--nodes=2", "--ntasks-per-node=1"])
    until(reaches(out, 10), 90, "step 10")
    cluster.crash("node2")
    until(lambda: newest_step(out) >= 30 and len(Starts(out).read()) > 1, 120, "step 30 on the rest")
    assert [start["nodes"] for start in Starts(out).read()] == [["node1", "node2"], ["node1", "node3"]]
    cluster.call("scancel", "--signal=KILL", "--full", job)
    cluster.wait(job)
    ended(cluster, submit(cluster, "pretrain", *words, options=["--nodes=1", "--ntasks-per-node=2"]), seconds=120)
    assert recorded(out) == list(range(1, 61)), "every step once, in order"
    assert Artifact.load(out).facts["steps"] == 60


@heeds_signals
def test_told_to_stop_it_saves_and_goes_on_where_it_stopped(
    cluster: Cluster, words: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = (*words, "trainer.checkpoint_every=1000 steps")
    job = submit(cluster, "pretrain", *command, options=["--nodes=2", "--ntasks-per-node=1"])
    until(lambda: (out / "metrics.jsonl").exists() and len(recorded(out)) >= 10, 90, "ten steps")
    cluster.call("scancel", "--signal=USR2", job)  # what SLURM sends before a time limit and at a preemption
    ended(cluster, job, seconds=120)
    outcomes = [record for record in Starts(out).read() if record["event"] == "end"]
    assert [(record["status"], record["outcome"]) for record in outcomes] == [(75, "requeued"), (0, "done")]
    assert outcomes[0]["step"] >= 10, "nothing was saved before the signal"
    assert recorded(out) == list(range(1, 61))
