"""What a job starts, and what becomes of it when its tasks have ended. tests/slurm does the same on a real SLURM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import slurm
from pipeline.errors import JobError
from pipeline.jobs.launch import afterwards, command, launch, meeting
from pipeline.jobs.starts import Starts
from pipeline.jobs.target import Target
from pipeline.slurm import Allocation, Failure

JOB = Allocation(job="12_3", number=15, restart=1, nodes=("gpu-a", "b.example"), tasks=8, gpus=4)


def target(out: Path, stage: str = "pretrain") -> Target:
    return Target(stage=stage, words=("r.yaml", "seed=1"), out=out, shards=())


def save(out: Path, step: int) -> None:
    (out / "checkpoints" / f"step-{step:09d}").mkdir(parents=True)


@pytest.fixture
def requeued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that were sent back to the queue; all jobs are running."""
    jobs: list[str] = []
    monkeypatch.setattr(slurm, "requeue", jobs.append)
    monkeypatch.setattr(slurm, "is_running", lambda job: True)
    return jobs


@pytest.mark.parametrize(
    ("status", "began_at", "stage", "outcome"),
    [
        (75, 10, "pretrain", "requeued"),
        (75, 5, "finetune", "requeued"),
        (140, 10, "pretrain", "requeued"),
        (143, 10, "pretrain", "requeued"),
        (1, 5, "pretrain", "requeued"),
        (137, 5, "pretrain", "requeued"),
        (1, 10, "pretrain", "failed"),
        (137, 10, "finetune", "failed"),
        (2, 5, "pretrain", "failed"),
        (75, 5, "probe", "failed"),
        (1, 5, "export", "failed"),
    ],
)
def test_a_job_is_requeued_where_that_helps(
    tmp_path: Path, requeued: list[str], status: int, began_at: int, stage: str, outcome: str
) -> None:
    save(tmp_path, 10)
    starts = Starts(tmp_path)
    assert afterwards(Failure((0,), status, "how"), JOB, target(tmp_path, stage), starts, began_at) == status
    assert requeued == (["12_3"] if outcome == "requeued" else [])
    (record,) = starts.read()
    assert (record["outcome"], record["status"], record["step"]) == (outcome, status, 10)


def test_a_job_that_was_cancelled_stays_so(
    tmp_path: Path, requeued: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slurm, "is_running", lambda job: False)
    save(tmp_path, 10)
    afterwards(Failure((0,), 75, "how"), JOB, target(tmp_path), Starts(tmp_path), 5)
    assert requeued == []
    assert "was ended from outside; the newest checkpoint is of step 10" in capsys.readouterr().out


def test_the_end_of_a_failed_task_s_log_is_shown(
    tmp_path: Path, requeued: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "jobs" / "15.1"
    logs.mkdir(parents=True)
    (logs / "rank-0003.log").write_text("".join(f"line {n}\n" for n in range(100)))
    afterwards(Failure((3, 4), 1, "Exited with exit code 1"), JOB, target(tmp_path), Starts(tmp_path), 0)
    said = capsys.readouterr().out
    assert "   3 | line 75\n" in said
    assert "   3 | line 99\n" in said
    assert "line 74\n" not in said


def test_a_task_for_each_gpu_knows_the_job_s_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "16")
    monkeypatch.setenv("PYTHON", "python3")
    words = command(JOB, target(tmp_path), Path("/logs"))
    assert words[0] == "srun"
    assert {"--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=16"} <= set(words)
    start = words.index("python3")
    assert words[start:] == [
        *("python3", "-m", "pipeline", "pretrain", "r.yaml", "seed=1"),
        *("trainer.nodes=2", "trainer.devices=4"),
    ]
    extracting = command(JOB, target(tmp_path, "features"), Path("/logs"))
    assert extracting[-2:] == ["compute.nodes=2", "compute.devices=4"]
    alone = Allocation(job="1", number=1, restart=0, nodes=("a",), tasks=1, gpus=0)
    assert command(alone, target(tmp_path, "probe"), Path("/logs"))[-1] == "seed=1"


def test_tasks_meet_at_the_first_node_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "16")
    known = meeting(JOB)
    assert known["MASTER_ADDR"] == "gpu-a"
    assert 20000 <= int(known["MASTER_PORT"]) < 32768
    assert known["OMP_NUM_THREADS"] == "16"


@pytest.mark.parametrize(
    ("stage", "tasks", "variables", "says"),
    [
        ("probe", 8, {}, "has 8 tasks, but probe is the work of one; give --ntasks=1"),
        ("pretrain", 4, {}, "has 2 tasks on each node and 4 GPUs; give each GPU its task: --ntasks-per-node=4"),
        ("pretrain", 3, {}, "3 tasks cannot be shared evenly by 2 nodes"),
        ("pretrain", 8, {"SLURM_GPUS_PER_TASK": "1"}, "was given --gpus-per-task, .*--gpus-per-node"),
    ],
)
def test_tasks_and_gpus_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, tasks: int, variables: dict[str, str], says: str
) -> None:
    monkeypatch.setattr(slurm, "comment", lambda job, text: None)
    monkeypatch.setattr(Allocation, "here", classmethod(lambda cls: replace(JOB, tasks=tasks)))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(JobError, match=says):
        launch(target(tmp_path, stage))


def test_what_ends_a_job_is_its_comment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comments: list[tuple[str, str]] = []
    monkeypatch.setattr(slurm, "comment", lambda job, text: comments.append((job, text)))
    monkeypatch.setattr(Allocation, "here", classmethod(lambda cls: JOB))
    with pytest.raises(JobError):
        launch(target(tmp_path, "probe"))
    assert comments[0][0] == "12_3"
    assert "has 8 tasks" in comments[0][1]
