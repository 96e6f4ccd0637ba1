"""The record of a run's starts, and when it says that another is not worth it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import JobError
from pipeline.jobs.starts import FILE, Starts, newest_step
from pipeline.runs import JOBS, Run
from pipeline.slurm import Allocation


def start(restart: int, job: str = "12") -> Allocation:
    return Allocation(job=job, number=int(job), restart=restart, nodes=("a",), tasks=2, gpus=0)


@pytest.mark.parametrize(
    ("began_at", "step", "stops"),
    [
        ([0, 0], 0, False),
        ([0, 0, 0], 0, True),
        ([0, 0, 0], 5, False),  # the last start did save
        ([0, 5, 5, 5], 5, True),
        ([0, 0, 0, 5, 5], 5, False),
    ],
)
def test_a_job_is_stopped_after_three_starts_without_a_newer_checkpoint(
    tmp_path: Path, began_at: list[int], step: int, stops: bool
) -> None:
    starts = Starts(tmp_path)
    for restart, began in enumerate(began_at):
        starts.began(start(restart), began)
        starts.ended(start(restart), began, 75, "requeued")
    if stops:
        with pytest.raises(JobError, match=f"3 starts of job 12 came no further than step {step}; see why in .*jobs"):
            starts.require_progress(start(len(began_at)), step)
    else:
        starts.require_progress(start(len(began_at)), step)


def test_a_new_job_begins_its_count_anew_and_unfit_nodes_do_not_count(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    for restart in range(3):
        starts.began(start(restart), 0)
        starts.unfit(start(restart, "13"), "n1", "clock")
    starts.require_progress(start(0, "13"), 0)


def test_half_a_record_and_what_is_none_are_passed_over(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    assert starts.read() == []
    starts.began(start(0), 0)
    with (tmp_path / JOBS / FILE).open("ab") as file:
        file.write(b'[1]\n3\n{"no": 1}\n\xff\xfe\n{"event": "end", "jo')
    assert [record["event"] for record in starts.read()] == ["start"]


def test_the_newest_checkpoint_is_that_of_the_highest_step(tmp_path: Path) -> None:
    assert newest_step(tmp_path) == 0
    for name in ("step-000000009", "step-000000100", ".step-000000200.tmp", "step-x", "latest"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert newest_step(tmp_path) == 100


def test_a_run_may_be_entered_after_its_jobs_have_left_their_folder(tmp_path: Path) -> None:
    Starts(tmp_path).began(start(0), 0)
    Run.open(tmp_path, "abc", "seed: 1\n")
    assert (tmp_path / "config.yaml").read_text() == "seed: 1\n"
