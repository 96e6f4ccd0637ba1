"""A run directory belongs to one run, and its metrics have every step once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import RunError
from pipeline.runs import CONFIG, METRICS, Run


def test_the_same_run_may_enter_its_directory_again(tmp_path: Path) -> None:
    Run.open(tmp_path / "run", "f", "out: run\n").record(step=1)
    again = Run.open(tmp_path / "run", "f", "out: run\n")
    again.record(step=2)
    assert [record["step"] for record in again.records()] == [1, 2]


def test_another_config_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    Run.open(tmp_path, "f", "rate: 1\nbatch: 2\n")
    with pytest.raises(RunError, match=r"another config.*batch: 2 → batch: 4.*out=DIR.*rm -r"):
        Run.open(tmp_path, "g", "rate: 1\nbatch: 4\n")
    assert (tmp_path / CONFIG).read_text() == "rate: 1\nbatch: 2\n"


def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        Run.open(tmp_path, "f", "")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError, match="is a file"):
        Run.open(tmp_path / "run", "f", "")
    with pytest.raises(RunError, match="lies below a file"):
        Run.open(tmp_path / "run" / "below", "f", "")


def test_rewinding_drops_the_records_of_lost_work_and_a_line_cut_short(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "f", "")
    for step in range(1, 6):
        run.record(step=step, loss=float(step))
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 6, "lo')
    run.rewind(lambda record: record["step"] <= 3)
    run.record(step=4, loss=4.0)
    assert [record["step"] for record in run.records()] == [1, 2, 3, 4]


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "f", "", writes=False)
    run.record(step=1)
    run.rewind(lambda record: False)
    assert not (tmp_path / "run").exists()
