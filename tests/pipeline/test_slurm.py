"""What is read from SLURM's words."""

from __future__ import annotations

import socket
from datetime import datetime
from pathlib import Path

import pytest

from pipeline import slurm
from pipeline.errors import JobError
from pipeline.slurm import Allocation, Failure, first_failure, meeting_port, parsed

SRUN = """\
srun: error: node1: task 1: Exited with exit code 1
srun: launch/slurm: _step_signal: Terminating StepId=7.1
srun: error: node2: tasks 2-3: Exited with exit code 75
"""


@pytest.mark.parametrize(
    ("messages", "failure"),
    [
        (SRUN, Failure((1,), 1, "Exited with exit code 1")),
        ("srun: error: n-7.x: tasks 0,4-6: Killed\n", Failure((0, 4, 5, 6), 137, "Killed")),
        ("srun: error: gpu3: task 12: User defined signal 2\n", Failure((12,), 140, "User defined signal 2")),
        ("srun: error: gpu3: task 0: Terminated\n", Failure((0,), 143, "Terminated")),
        ("srun: error: gpu3: task 0: Segmentation fault (core dumped)\n",
         Failure((0,), 137, "Segmentation fault (core dumped)")),
        ("srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_first_failure_is_the_one_that_the_others_died_of(messages: str, failure: Failure | None) -> None:
    assert first_failure(messages) == failure


def test_a_job_s_fields_are_read_with_spaces_in_them() -> None:
    line = (
        "JobId=12 JobName=a b JobState=PENDING ExcNodeList=n[1-2] TRES=cpu=4,node=2 "
        "NtasksPerN:B:S:C=0:0:*:* Comment=not on n1: a b  \n"
    )
    assert parsed(line) == [
        {
            "JobId": "12",
            "JobName": "a b",
            "JobState": "PENDING",
            "ExcNodeList": "n[1-2]",
            "TRES": "cpu=4,node=2",
            "NtasksPerN:B:S:C": "0:0:*:*",
            "Comment": "not on n1: a b",
        }
    ]


def test_the_port_comes_from_the_job_and_makes_way_for_one_that_is_taken() -> None:
    free = meeting_port(4711)
    assert 20000 <= free < 32768
    with socket.socket() as taken:
        taken.bind(("", free))
        other = meeting_port(4711)
        assert other != free
        assert 20000 <= other < 32768
    assert meeting_port(4711 + slurm.PORTS) == free


def test_an_array_s_task_is_called_by_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "ask", lambda *words: "gpu-a\nlogin.x.org\n" if words[-1] == "gpu-a,login.x.org" else "")
    variables = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_NTASKS": "8"}
    job = Allocation.here({**variables, "SLURM_JOB_NODELIST": "gpu-a,login.x.org", "SLURM_RESTART_COUNT": "2"})
    assert (job.job, job.number, job.restart, job.name) == ("12_3", 15, 2, "15.2")
    assert job.nodes == ("gpu-a", "login.x.org"), "names of any shape"
    assert job.tasks_per_node == 4


def test_tasks_that_nodes_cannot_share_are_refused() -> None:
    job = Allocation(job="1", number=1, restart=0, nodes=("a", "b"), tasks=3, gpus=0)
    with pytest.raises(JobError, match="3 tasks cannot be shared evenly by 2 nodes"):
        _ = job.tasks_per_node


def test_outside_of_a_job_the_error_says_how_to_submit() -> None:
    with pytest.raises(JobError, match=r"this is no job; submit it\. Next: sbatch slurm/pretrain.sbatch"):
        Allocation.here({})


def test_a_command_that_is_not_there_or_refuses_is_one_sentence() -> None:
    with pytest.raises(JobError, match="sbotch: is no command here"):
        slurm.ask("sbotch")
    with pytest.raises(JobError, match=r"ls /nowhere: .*No such file"):
        slurm.ask("ls", "/nowhere")


def test_a_busy_slurmctld_is_asked_again_but_not_to_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("scontrol", "sbatch"):
        (tmp_path / command).write_text(
            f"#!/bin/sh\necho x >> {tmp_path}/{command}.asked\n"
            f"[ $(wc -l < {tmp_path}/{command}.asked) -ge 3 ] && echo yes && exit 0\n"
            f"echo '{command}: error: Unable to contact slurm controller (connect failure)' >&2; exit 1\n"
        )
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(slurm, "PAUSE", 0.0)
    assert slurm.ask("scontrol", "show", "job", "1") == "yes\n"
    with pytest.raises(JobError, match="Unable to contact"):
        slurm.ask("sbatch", "job.sh")


def test_a_command_outlives_the_signal_that_ends_its_job(tmp_path: Path) -> None:
    assert slurm.ask("sh", "-c", "kill -TERM $$; echo done") == "done\n"


@pytest.mark.parametrize(("told", "ends"), [("2026-11-25T22:10:00", True), ("Unknown", False), ("NONE", False)])
def test_the_end_of_a_job_is_a_time_or_never(told: str, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "ask", lambda *_, **__: f"JobId=7 EndTime={told} Deadline=N/A\n")
    found = slurm.ends("7")
    assert found == (datetime(2026, 11, 25, 22, 10).timestamp() if ends else None)


def test_a_slurm_that_does_not_answer_sets_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> str:
        raise JobError("scontrol", "gave no answer", "try again")

    monkeypatch.setattr(slurm, "ask", gone)
    assert slurm.ends("7") is None
