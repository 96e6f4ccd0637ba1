"""Chains and sweeps on a real SLURM, submitted as a user does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.artifacts import Artifact
from pipeline.jobs.status import follow, submitted
from pipeline.stages.chain import SUMMARY
from tests.commands import run, write_recipes
from tests.slurm.cluster import Cluster
from tests.slurm.scripts import ROOT, ended, pretending, submit

RUNS = ("shard", "pretrain", "probe", "finetune", "export", "report")
TWO_BY_TWO = "--nodes=2 --ntasks-per-node=2"


def submit_chain(cluster: Cluster, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {"PYTHON": sys.executable, "PRETRAIN_OPTIONS": TWO_BY_TWO, "FINETUNE_OPTIONS": TWO_BY_TWO}
    return subprocess.run(
        [ROOT / "slurm" / "chain.sh", *words],
        cwd=ROOT,
        env={**cluster.environment, **own, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_stage_that_fails_stops_those_that_need_it_and_the_last_job_says_so(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "runs"
    told = submit_chain(cluster, str(write_recipes(tmp_path) / "chain.yaml"), f"out={out}", f"data={tmp_path / 'none'}")
    assert told.returncode == 0, told.stderr
    jobs = submitted(out)
    assert all(f"{job}  {run}" in told.stdout for run, job in jobs.items())
    assert f"watch:  python -m pipeline status {out}" in told.stdout
    assert cluster.wait(jobs["chain"], 60) == "FAILED"
    said = (out / f"chain-{jobs['chain']}.log").read_text()
    assert f"shard failed (job {jobs['shard']} failed, exit status 2); its logs: {out / 'shard' / 'jobs'}" in said
    assert "not run: pretrain, probe, finetune, export, report" in said
    assert {cluster.wait(jobs[name]) for name in RUNS[1:]} == {"CANCELLED"}
    log = (out / "shard" / "jobs" / f"{jobs['shard']}.log").read_text()
    assert f"{tmp_path / 'none'}" in log
    assert "Traceback" not in log
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    assert [run.state for run in follow(out)] == ["failed", *["cancelled"] * 5]


def test_each_line_of_a_sweep_is_a_run_of_its_own(cluster: Cluster, tmp_path: Path) -> None:
    recipe, lines, shards = tmp_path / "recipe.yaml", tmp_path / "lines.txt", tmp_path / "shards"
    shards.mkdir()
    (shards / "train-000000.tar").write_bytes(bytes(1024))
    recipe.write_text(f"out: {tmp_path / 'run'}\nshards: {shards}\n")
    lines.write_text("pretend.steps=5\n\n# more\npretend.steps=10\n")
    words = ("pretrain", recipe, lines)
    ended(cluster, submit(cluster, "sweep", *words, options=["--array=1-2"], python=pretending(tmp_path)))
    newest = {path.parents[1].name: path.name for path in sorted(tmp_path.glob("run-*/checkpoints/step-*"))}
    assert newest == {"run-001": "step-000000005", "run-002": "step-000000010"}


def test_the_file_of_a_cluster_says_where_its_jobs_run(cluster: Cluster, tmp_path: Path) -> None:
    file, recipe = tmp_path / "settings.sh", write_recipes(tmp_path, ["shard"]) / "chain.yaml"
    recipe.write_text("stages:\n  - shard: shard.yaml\n")
    file.write_text("export SBATCH_PARTITION=low\n: ${SHARD_OPTIONS:=--comment=packed}\nexport SHARD_OPTIONS\n")
    told = submit_chain(cluster, str(recipe), f"out={tmp_path / 'runs'}", CLUSTER=str(file))
    assert told.returncode == 0, told.stderr
    (shard,) = cluster.facts(submitted(tmp_path / "runs")["shard"])
    assert (shard["Partition"], shard["Comment"]) == ("low", "packed")
    unknown = submit_chain(cluster, str(recipe), CLUSTER="nowhere")
    assert unknown.returncode == 2
    assert "there is no slurm/clusters/nowhere.sh; there are: example.sh local.sh" in unknown.stderr


def test_a_chain_of_jobs_on_two_nodes_makes_what_the_chain_makes(cluster: Cluster, tmp_path: Path) -> None:
    recipe, out = write_recipes(tmp_path) / "chain.yaml", tmp_path / "runs"
    told = submit_chain(cluster, str(recipe), f"out={out}")
    assert told.returncode == 0, told.stderr
    last = submitted(out)["chain"]
    state = cluster.wait(last, 400)
    assert state == "COMPLETED", "\n".join(path.read_text() for path in out.rglob("*.log"))
    assert "kNN accuracy" in (out / f"chain-{last}.log").read_text()
    assert json.loads((out / SUMMARY).read_text())["loss_last"] > 0
    for name in ("pretrain", "finetune"):
        (folder,) = (out / name / "jobs").glob("*.0")
        assert len(list(folder.glob("rank-*.log"))) == 4
    made = {name: Artifact.load(out / name) for name in RUNS}
    again = run("chain", str(recipe), f"out={out}", cwd=ROOT)
    assert again.output.count("is up to date") == len(RUNS), "the same runs, asked for in the same words"
    assert {name: Artifact.load(out / name) for name in RUNS} == made
