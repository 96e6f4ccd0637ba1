"""Starts of a job on a real SLURM, and what follows when its tasks end; the training itself is pretended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.jobs.starts import Starts, newest_step
from pipeline.slurm import Allocation
from tests.slurm.cluster import Cluster, until
from tests.slurm.scripts import ended, log, pretending, submit

Submit = Callable[..., str]
TWO = ("--nodes=2", "--ntasks-per-node=2")


@pytest.fixture
def pretrain(cluster: Cluster, tmp_path: Path) -> Submit:
    """Submits a pretended pretraining into `tmp_path / "run"`."""
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "train-000000.tar").write_bytes(bytes(1024))

    def submitted(*words: str, options: tuple[str, ...] = TWO) -> str:
        own = [f"out={tmp_path / 'run'}", f"shards={shards}", *(f"pretend.{word}" for word in words)]
        return submit(cluster, "pretrain", *own, options=options, python=pretending(tmp_path))

    return submitted


def steps(run: Path) -> list[tuple[int, int]]:
    """Restart and step, in the order in which they were done."""
    return [(int(restart), int(step)) for restart, step in map(str.split, (run / "steps.txt").read_text().splitlines())]


def reaches(run: Path, step: int) -> Callable[[], bool]:
    return lambda: newest_step(run) >= step


def start(job: str, restart: int) -> Allocation:
    return Allocation(job=job, number=int(job), restart=restart, nodes=("node1",), tasks=1, gpus=0)


def outcomes(run: Path) -> list[str]:
    return [record["outcome"] for record in Starts(run).read() if record["event"] == "end"]


def test_a_task_for_each_place_on_each_node_has_a_log_of_its_own(
    cluster: Cluster, pretrain: Submit, tmp_path: Path
) -> None:
    said = ended(cluster, pretrain("steps=3"))
    logs = sorted((tmp_path / "run" / "jobs").glob("*.0/rank-*.log"))
    assert [path.name for path in logs] == [f"rank-000{rank}.log" for rank in range(4)]
    assert [path.read_text() for path in logs] == [f"task {rank} begins at step 0\n" for rank in range(4)]
    assert "4 tasks on node1, node2" in said
    assert "pretrain: done" in said


def test_a_job_that_must_not_be_requeued_says_so_and_fails(cluster: Cluster, pretrain: Submit, tmp_path: Path) -> None:
    said = ended(cluster, pretrain("steps=20", "crash=0@8", options=(*TWO, "--no-requeue")), "FAILED")
    assert "error: scontrol requeue" in said
    assert outcomes(tmp_path / "run") == ["failed"]


def test_before_its_time_is_up_it_is_told_to_stop_and_goes_on_in_the_next_start(
    cluster: Cluster, pretrain: Submit, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    job = pretrain("steps=800", "every=1000", options=(*TWO, "--signal=USR2@60"))
    until(lambda: (run / "steps.txt").exists(), 30, "a step")
    cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    until(lambda: outcomes(run) == ["requeued"], 60, "the end of the first start")  # limits are looked at every 30 s
    cluster.call("scontrol", "update", f"JobId={job}", "TimeLimit=5")
    stopped = steps(run)[-1][1]
    assert newest_step(run) == stopped
    assert "was told to stop" in log(cluster, job)
    until(lambda: steps(run)[-1] >= (1, stopped + 5), 40, "the second start")
    assert [step for _, step in steps(run)] == list(range(1, len(steps(run)) + 1)), "none is lost, none is done twice"
    first, second = (record["waited"] for record in Starts(run).read() if record["event"] == "start")
    assert first < 5 < second, "a requeued job waits for cred_expire in any case"


def test_a_job_of_a_higher_partition_takes_the_nodes_and_gives_them_back(
    cluster: Cluster, pretrain: Submit, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    low = pretrain("steps=80", "every=1000", options=("--partition=low", "--nodes=3", "--exclusive"))
    until(lambda: (run / "steps.txt").exists() and len(steps(run)) >= 5, 30, "five steps")
    high = cluster.submit("--partition=high", "--nodes=3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    assert cluster.wait(high, 60) == "COMPLETED"
    ended(cluster, low)
    assert [step for _, step in steps(run)] == list(range(1, 81))
    assert outcomes(run) == ["requeued", "done"]


def test_when_a_node_dies_the_job_goes_on_with_the_rest_from_the_last_checkpoint(
    cluster: Cluster, pretrain: Submit, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    job = pretrain("steps=60")
    until(reaches(run, 10), 30, "the second checkpoint")
    cluster.crash("node2")
    said = ended(cluster, job)
    assert "4 tasks on node1, node3" in said
    last = [step for restart, step in steps(run) if restart == 1]
    assert last[0] > 10
    assert last[-1] == 60
    assert {step for _, step in steps(run)} == set(range(1, 61))


def test_a_crash_after_a_checkpoint_is_survived_and_shown(cluster: Cluster, pretrain: Submit, tmp_path: Path) -> None:
    job = pretrain("steps=20", "crash=0@13")
    said = ended(cluster, job)
    assert "   0 | RuntimeError: this GPU has fallen off the bus" in said
    assert "the newest checkpoint is of step 10" in said
    assert outcomes(tmp_path / "run") == ["requeued", "done"]


@pytest.mark.parametrize(
    ("words", "why"), [(("crash=0@3",), "no newer checkpoint"), (("crash=0@8", "status=2"), "mistake")]
)
def test_a_crash_before_any_progress_and_a_mistake_are_final(
    cluster: Cluster, pretrain: Submit, tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    said = ended(cluster, pretrain("steps=20", *words), "FAILED")
    assert "pretrain: failed (Exited with exit code" in said
    assert outcomes(tmp_path / "run") == ["failed"], why


def test_a_cancelled_job_saves_and_does_not_come_back(cluster: Cluster, pretrain: Submit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = pretrain("steps=400", "every=1000")
    until(lambda: (run / "steps.txt").exists() and len(steps(run)) >= 5, 30, "five steps")
    cluster.call("scancel", job)
    said = ended(cluster, job, "CANCELLED")
    until(lambda: outcomes(run) == ["cancelled"], 10, "the end")
    assert "was ended from outside" in log(cluster, job), said
    assert newest_step(run) == steps(run)[-1][1]


def test_a_job_that_comes_no_further_is_stopped_with_a_sentence(
    cluster: Cluster, pretrain: Submit, tmp_path: Path
) -> None:
    job = pretrain("steps=3", options=(*TWO, "--hold"))
    for restart in range(3):  # as if it had been started three times, and a node had been lost each time
        Starts(tmp_path / "run").began(start(job, restart), 0)
    cluster.call("scontrol", "release", job)
    said = ended(cluster, job, "FAILED")
    assert f"3 starts of job {job} came no further than step 0" in said
    assert "came no further" in cluster.facts(job)[0]["Comment"]


def test_an_unfit_node_is_left_out_and_its_reason_is_on_record(
    cluster: Cluster, pretrain: Submit, tmp_path: Path
) -> None:
    cluster.inside("node1", "mount", "-o", "remount,size=8m", "/dev/shm")
    job = pretrain("steps=3", options=("--nodes=1", "--ntasks-per-node=2", "--exclude=node3"))
    said = ended(cluster, job)
    assert "node1 is unfit: shared memory: /dev/shm has 8 MiB free; 2 tasks need 128 MiB" in said
    assert "2 tasks on node2" in said
    unfit = [record for record in Starts(tmp_path / "run").read() if record["event"] == "unfit"]
    assert [record["node"] for record in unfit] == ["node1"], said
    facts = cluster.facts(job)[0]
    assert facts["ExcNodeList"] == "node3,node1", "what was excluded before stays so"
    assert "node1: shared memory" in facts["Comment"]


def test_a_node_that_does_not_answer_is_left_out(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cluster.environment, "PREFLIGHT_SECONDS", "10")
    (tmp_path / "train-000000.tar").write_bytes(bytes(1024))
    words = (f"out={tmp_path / 'run'}", f"shards={tmp_path}", "pretend.steps=3")
    said = ended(cluster, submit(cluster, "pretrain", *words, options=TWO, python=pretending(tmp_path, hangs="node2")))
    assert "node2 is unfit: preflight: no answer in" in said
    assert "4 tasks on node1, node3" in said


def test_what_all_nodes_lack_is_no_fault_of_theirs(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, "pretrain", f"out={tmp_path / 'run'}", f"shards={tmp_path / 'none'}", options=TWO)
    said = ended(cluster, job, "FAILED")
    assert "every node of the job fails this" in said
    assert "none" in cluster.facts(job)[0]["Comment"]
