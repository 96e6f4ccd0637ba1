"""What is known of a run is true of its directory, whatever state that is in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.artifacts import FILE
from pipeline.report.read import STAGES, read, read_all
from pipeline.stages import STAGES as EVERY
from tests.pipeline.report.made import chain, finished, write_records


def test_a_finished_run_is_told_by_its_artifact(tmp_path: Path) -> None:
    run = read(chain(tmp_path)[1])
    assert (run.stage, run.kind, run.state, run.remark) == ("pretrain", "checkpoint", "finished", "")
    assert run.figures["loss_first"] == 4.71
    assert run.setting("objective.name") == "swav"
    assert run.setting("objective.name.first") is None
    assert run.sources[0].path == tmp_path / "shard"
    assert run.command == f"python -m pipeline pretrain {tmp_path}/pretrain/config.yaml"
    assert run.when is not None


def test_an_unfinished_run_of_any_stage_is_known_by_its_name() -> None:
    assert set(EVERY) - {"chain"} <= set(STAGES)


def test_an_unfinished_run_says_how_far_it_got(tmp_path: Path) -> None:
    path = tmp_path / "finetune-1pct"
    write_records(path, [{"step": 1, "loss": 2.0}, {"step": 30, "loss": 1.5}])
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    (path / "config.yaml").write_text("start: scratch\n")
    run = read(path)
    assert (run.stage, run.state) == ("finetune", "unfinished")
    assert run.remark == "it got to step 30; the same command goes on where it stopped"
    assert len(run.records) == 2


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", "3", '{"format": 1}', '{"format": 7}', '{"format": 1, "stage": 1, "inputs": 5}', "\udcff", ""],
)
def test_a_damaged_artifact_is_a_state_with_a_cure(tmp_path: Path, text: str) -> None:
    path = finished(tmp_path / "probe", "probe", "scores")
    (path / FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    run = read(path)
    assert (run.stage, run.state, run.kind) == ("probe", "damaged", "")
    assert run.remark


def test_a_file_that_is_gone_makes_a_run_damaged_but_its_figures_stay(tmp_path: Path) -> None:
    path = chain(tmp_path)[1]
    (path / "crops.png").unlink()
    run = read(path)
    assert run.state == "damaged"
    assert run.remark.startswith("crops.png is missing or has changed")
    assert run.figures


def test_a_directory_that_is_not_there_is_missing_and_another_is_no_run(tmp_path: Path) -> None:
    assert read(tmp_path / "gone").state == "missing"
    (tmp_path / "photos").mkdir()
    assert read(tmp_path / "photos").remark == "holds no run of this pipeline"


def test_what_is_no_finite_number_is_no_figure(tmp_path: Path) -> None:
    path = finished(tmp_path / "probe", "probe", "scores")
    body = json.loads((path / FILE).read_text())
    body["figures"] = {"good": 1, "nan": float("nan"), "inf": float("inf"), "text": "1", "flag": True, "huge": 10**400}
    (path / FILE).write_text(json.dumps(body))
    (path / "metrics.jsonl").write_text(
        '{"step": 1, "loss": NaN, "knn": 0.5}\n[1]\n7\n"text"\n\n{"step": 2, "loss": 1}\n'
    )
    run = read(path)
    assert run.figures == {"good": 1.0}
    assert [dict(record) for record in run.records if record] == [{"step": 1, "knn": 0.5}, {"step": 2, "loss": 1}]


def test_bad_samples_are_counted_once_each_and_by_reason(tmp_path: Path) -> None:
    path = finished(tmp_path / "pretrain", "pretrain", "checkpoint")
    lines = [{"shard": "train-000000.tar", "key": key, "reason": reason} for key, reason in [("a", "truncated")] * 3]
    lines.append({"shard": "train-000000.tar", "key": "b", "reason": "not_an_image"})
    (path / "bad_samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"sha')
    run = read(path)
    assert run.bad == {"truncated": 3, "not_an_image": 1}
    assert run.bad_samples == 2


def test_runs_of_one_name_are_told_apart_by_the_directory_above(tmp_path: Path) -> None:
    paths = [finished(tmp_path / folder / "probe", "probe", "scores") for folder in ("a", "b")]
    other = finished(tmp_path / "a" / "shard", "shard", "shards")
    assert [run.name for run in read_all([*paths, other])] == ["a/probe", "b/probe", "shard"]


def test_a_path_with_a_space_is_quoted_in_the_command(tmp_path: Path) -> None:
    path = finished(tmp_path / "my runs" / "probe", "probe", "scores")
    assert read(path).command == f"python -m pipeline probe '{path}/config.yaml'"
