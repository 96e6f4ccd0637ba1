"""Real training on a real SLURM, in a few starts: processes that import torch are slow to come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifacts import Artifact
from pipeline.jobs.starts import Starts, newest_step
from tests.commands import run, write_recipes
from tests.slurm.cluster import Cluster, until
from tests.slurm.scripts import ended, submit


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    """A pretraining of 200 steps, saved at every second."""
    folder = write_recipes(tmp_path)
    packed = run("shard", str(folder / "shard.yaml"), f"out={tmp_path / 'shard'}")
    assert packed.status == 0, packed.errors
    own = ("trainer.duration=200 steps", "trainer.watch_every=0 steps", f"shards={tmp_path / 'shard'}")
    return (str(folder / "pretrain.yaml"), f"out={tmp_path / 'run'}", *own)


def reaches(out: Path, step: int) -> Callable[[], bool]:
    return lambda: newest_step(out) >= step


def nodes(out: Path) -> list[list[str]]:
    return [record["nodes"] for record in Starts(out).read() if record["event"] == "start"]


def recorded(out: Path) -> list[int]:
    records = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [record["step"] for record in records if "loss" in record]


def test_a_lost_node_and_another_number_of_nodes_lose_no_step(
    cluster: Cluster, words: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    job = submit(cluster, "pretrain", *words, options=["--nodes=2", "--ntasks-per-node=1", "--time=20"])
    until(reaches(out, 10), 180, "step 10")
    cluster.crash("node2")
    until(lambda: len(nodes(out)) == 2, 90, "the second start")
    assert nodes(out) == [["node1", "node2"], ["node1", "node3"]]
    until(reaches(out, newest_step(out) + 10), 180, "ten steps on the rest")
    cluster.call("scancel", "--signal=KILL", "--full", job)
    cluster.wait(job)
    ended(
        cluster,
        submit(cluster, "pretrain", *words, options=["--nodes=1", "--ntasks-per-node=2", "--time=20"]),
        seconds=300,
    )
    assert recorded(out) == list(range(1, 201)), "every step once, in order"
    assert Artifact.load(out).facts["steps"] == 200


def test_a_time_limit_and_then_a_job_of_a_higher_partition_cost_no_step(
    cluster: Cluster, words: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def outcomes() -> list[tuple[int, str]]:
        return [(record["status"], record["outcome"]) for record in Starts(out).read() if record["event"] == "end"]

    def goes_on(step: int) -> Callable[[], bool]:
        return lambda: (out / "metrics.jsonl").exists() and len(recorded(out)) >= step

    endless = (*words, "trainer.duration=1m steps", "trainer.checkpoint_every=1m steps")
    shape = ("--nodes=2", "--ntasks-per-node=1", "--exclusive", "--partition=low", "--signal=USR2@60")
    job = submit(cluster, "pretrain", *endless, options=shape)
    until(goes_on(10), 180, "ten steps")
    began = next(record["time"] for record in Starts(out).read() if record["event"] == "start")
    minutes = int((time.time() - began + 5) // 60) + 2  # one at least is left, on a slow machine too
    cluster.call("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
    until(lambda: outcomes() == [(75, "requeued")], 150, "the end of the first start")
    cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=20")
    until(goes_on(newest_step(out) + 10), 180, "ten steps more")
    high = cluster.submit("--partition=high", "--nodes=3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    assert cluster.wait(high, 90) == "COMPLETED"
    assert outcomes() == [(75, "requeued")] * 2
    until(goes_on(newest_step(out) + 10), 180, "and again")
    cluster.call("scancel", job)
    cluster.wait(job)
    assert recorded(out) == list(range(1, len(recorded(out)) + 1)), "nothing was saved but at the signals"
