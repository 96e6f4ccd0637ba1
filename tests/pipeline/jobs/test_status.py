"""What `status` says of runs in every state, also of files that are half-written, with SLURM and without."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import goodput, slurm
from pipeline.artifacts import Artifact
from pipeline.errors import JobError
from pipeline.goodput import Account
from pipeline.jobs.starts import Starts
from pipeline.jobs.status import Progress, follow, tell
from pipeline.slurm import Allocation
from tests.commands import run

Asked = Callable[..., str]


def training(path: Path, *, step: int = 40, rate: float = 200.0) -> Path:
    """A pretraining that is at work."""
    (path / "checkpoints" / "step-000000030").mkdir(parents=True)
    (path / "config.yaml").write_text("trainer: {duration: 4 epochs, batch: 50}\n")
    records = [{"step": 1, "shuffle": 0.9}]
    records += [
        {"step": n, "loss": 3.0, "epoch": n / 25, "images_per_second": rate + n % 2} for n in range(1, step + 1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def chain(path: Path) -> Path:
    """A chain whose first run is finished, and whose second one is at work."""
    path.mkdir(exist_ok=True)
    (path / "chain.yaml").write_text("stages:\n- shard: shard/config.yaml\n- pretrain: x\n- probe: x\n")
    (path / "shard").mkdir()
    Artifact(stage="shard", kind="shards", fingerprint="f", content="c", seconds=12.0, path=path / "shard").save()
    training(path / "pretrain")
    (path / "jobs.json").write_text(json.dumps({"shard": "7", "pretrain": "8", "probe": "9", "chain": "10"}))
    return path


def answers(**jobs: str) -> Asked:
    """A SLURM that knows these jobs."""

    def ask(*words: str, **_: object) -> str:
        if words[-1] not in jobs:
            raise JobError("scontrol", "slurm_load_jobs error: Invalid job id specified", "")
        return f"JobId={words[-1]} {jobs[words[-1]]}\n"

    return ask


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def by_name(runs: list[Progress]) -> dict[str, Progress]:
    return {run.name: run for run in runs}


def test_a_chain_at_work_without_slurm(tmp_path: Path) -> None:
    out = chain(tmp_path / "demo")
    now = (out / "pretrain" / "metrics.jsonl").stat().st_mtime + 20
    os.utime(out / "pretrain" / "checkpoints" / "step-000000030", (now - 65, now - 65))
    runs = by_name(follow(out, now))
    assert [run.state for run in runs.values()] == ["done", "unfinished", "not started"]
    pretrain = runs["pretrain"]
    assert (pretrain.step, pretrain.steps, pretrain.saved) == (40, 100, 30)
    assert pretrain.rate == pytest.approx(200.4)
    assert pretrain.left == pytest.approx(60 * 50 / 200.4)
    assert pretrain.saved_ago == pytest.approx(65, abs=0.01)
    table = tell(out, list(runs.values())).splitlines()
    assert table[1].split()[:5] == ["run", "state", "step", "images/s", "time"]
    assert "40 of 100" in table[3]
    assert "step 30, " in table[3]


def test_a_run_that_fell_silent_has_no_speed_and_no_end(tmp_path: Path) -> None:
    out = training(tmp_path / "pretrain")
    (run_,) = follow(out, (out / "metrics.jsonl").stat().st_mtime + 3600)
    assert (run_.state, run_.rate, run_.left) == ("unfinished", None, None)
    assert "it got to step 40" in run_.remark


def test_with_slurm_each_job_s_state_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = chain(tmp_path / "demo")
    jobs = {
        "8": "JobState=RUNNING NodeList=n[1-2] Restarts=2",
        "9": "JobState=PENDING Reason=Dependency NodeList=(null)",
    }
    monkeypatch.setattr(slurm, "ask", answers(**jobs))
    runs = by_name(follow(out))
    assert (runs["pretrain"].state, runs["pretrain"].remark) == ("running", "job 8 on n[1-2]")
    assert runs["pretrain"].requeues == 2
    assert (runs["probe"].state, runs["probe"].remark) == ("waiting", "job 9 for what it reads")
    assert runs["shard"].state == "done", "slurmctld has forgotten its job"


@pytest.mark.parametrize(
    ("facts", "state", "remark"),
    [
        ("JobState=FAILED ExitCode=2:0", "failed", "job 8 failed, exit status 2"),
        ("JobState=TIMEOUT ExitCode=0:15", "failed", "job 8 ran out of time, exit status 0"),
        ("JobState=CANCELLED", "cancelled", "job 8"),
        (
            "JobState=PENDING Reason=BeginTime Comment=not on n3: clock: slow",
            "waiting",
            "job 8 to be started again; not on n3: clock: slow",
        ),
        ("JobState=PENDING Reason=QOSMaxJobs", "waiting", "job 8 (QOSMaxJobs)"),
    ],
)
def test_a_job_that_does_not_run_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: str, state: str, remark: str
) -> None:
    monkeypatch.setattr(slurm, "ask", answers(**{"8": facts}))
    run_ = by_name(follow(chain(tmp_path / "demo")))["pretrain"]
    assert (run_.state, run_.remark, run_.left) == (state, remark, None)
    assert run_.failed == (state == "failed")


def test_a_job_that_slurm_has_forgotten_is_told_by_its_own_record(tmp_path: Path) -> None:
    starts = Starts(training(tmp_path / "pretrain"))
    for restart, (status, outcome) in enumerate([(75, "requeued"), (75, "requeued"), (1, "failed")]):
        start = Allocation(job="31", number=31, restart=restart, nodes=("a",), tasks=1, gpus=0)
        starts.began(start, 0)
        starts.ended(start, 0, status, outcome)
    (run_,) = follow(tmp_path / "pretrain")
    assert (run_.state, run_.remark, run_.requeues) == ("failed", "job 31, exit status 1", 2)


@pytest.mark.parametrize(("job", "state"), [("5", "failed"), ("11_2", "running")])
def test_of_two_jobs_of_a_run_the_newer_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, state: str
) -> None:
    out = chain(tmp_path / "demo")
    Starts(out / "pretrain").began(Allocation(job=job, number=5, restart=0, nodes=("a",), tasks=1, gpus=0), 0)
    monkeypatch.setattr(
        slurm, "ask", answers(**{"8": "JobState=FAILED", "5": "JobState=RUNNING", "11_2": "JobState=RUNNING"})
    )
    assert by_name(follow(out))["pretrain"].state == state


def test_a_folder_of_runs_is_shown_run_by_run_and_no_run_is_a_sentence(tmp_path: Path) -> None:
    training(tmp_path / "pretrain-001")
    training(tmp_path / "pretrain-002")
    (tmp_path / "other").mkdir()
    assert [run.name for run in follow(tmp_path)] == ["pretrain-001", "pretrain-002"]
    with pytest.raises(JobError, match="holds no run"):
        follow(tmp_path / "other")
    with pytest.raises(JobError, match="does not exist"):
        follow(tmp_path / "none")


def test_files_cut_off_or_altered_anywhere_never_raise(tmp_path: Path) -> None:
    out = chain(tmp_path / "demo")
    Starts(out / "pretrain").began(Allocation(job="8", number=8, restart=0, nodes=("a",), tasks=1, gpus=0), 0)
    files = [path for path in out.rglob("*") if path.is_file()]
    draw = random.Random(0)
    for _ in range(150):
        path = draw.choice(files)
        whole = path.read_bytes()
        at = draw.randrange(len(whole))
        path.write_bytes(draw.choice([whole[:at], whole[:at] + bytes([draw.randrange(256)]) + whole[at + 1 :], b""]))
        try:
            tell(out, follow(out))
        except JobError as error:
            assert "holds no run" in str(error), "chain.yaml itself is gone"  # noqa: PT017
        path.write_bytes(whole)


def test_the_command_prints_the_table(tmp_path: Path) -> None:
    done = run("status", str(chain(tmp_path / "demo")))
    assert done.status == 0, done.errors
    assert "pretrain" in done.output
    assert run("status", str(tmp_path / "none")).errors.startswith(f"error: {tmp_path / 'none'}: does not exist")
    assert run("status").status == 2


def test_what_the_time_of_its_starts_went_into_is_told(tmp_path: Path) -> None:
    path = training(tmp_path / "pretrain")
    goodput.append(path, Account(start=1, begin=0, step=30, start_up=8.0, elapsed=60.0, queue=32.0))
    goodput.append(path, Account(start=2, begin=20, step=40, elapsed=100.0, data_wait=20.0))
    said = tell(path, follow(path)).replace("\u00a0", " ").splitlines()[-1]
    parts = "training 2 min, waiting for data 20 s, lost work 20 s, start-up 8.0 s, queue 32 s"
    assert said == f"pretrain: 60 % of 3 min 20 s was training, in 2 starts: {parts}"
