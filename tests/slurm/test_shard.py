"""Packing as an array of jobs on a real SLURM."""

from __future__ import annotations

from pathlib import Path

from data_shards.manifest import Manifest
from pipeline.jobs.starts import Starts
from tests.commands import run, write_recipes
from tests.slurm.cluster import Cluster
from tests.slurm.scripts import ended, submit


def test_the_tasks_of_an_array_share_the_work_and_make_the_shards_of_one_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    recipe = write_recipes(tmp_path, ["shard"]) / "shard.yaml"
    sizes = ("images_per_slice=20", "samples_per_shard=10")
    job = submit(cluster, "shard", recipe, f"out={tmp_path / 'array'}", *sizes, options=["--array=0-3"])
    ended(cluster, job)
    alone = run("shard", str(recipe), f"out={tmp_path / 'alone'}", *sizes)
    assert alone.status == 0, alone.errors
    assert Manifest.load(tmp_path / "array").root == Manifest.load(tmp_path / "alone").root
    outcomes = [record["outcome"] for record in Starts(tmp_path / "array").read() if record["event"] == "end"]
    assert outcomes == ["done"] * 4
