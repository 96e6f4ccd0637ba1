"""A chain as jobs: what each runs, and what it waits for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import config, slurm
from pipeline.errors import ConfigError, JobError
from pipeline.jobs.submit import conclude, submit
from pipeline.stages import chain as chains
from pipeline.stages.stage import module
from tests.commands import Done

SCRIPTS = Path(__file__).parents[3] / "slurm"


class Queue:
    """A SLURM that takes all jobs, up to one that it refuses."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses, self.commands = refuses, list[tuple[str, ...]]()
        self.state = "PENDING"

    def ask(self, *words: str, **_: object) -> str:
        self.commands.append(words)
        if words[0] == "scontrol":
            return f"JobId={words[-1]} JobState={self.state}\n"
        if words[0] == "sbatch" and self.refuses and f"--job-name={self.refuses}" in words:
            raise JobError("sbatch", "invalid partition", "SLURM refused this")
        return f"{100 + sum(w[0] == 'sbatch' for w in self.commands)};cluster\n"

    def submitted(self) -> dict[str, tuple[str, ...]]:
        names = {next(w for w in words if w.startswith("--job-name"))[11:]: words for words in self.of("sbatch")}
        return names

    def of(self, command: str) -> list[tuple[str, ...]]:
        return [words for words in self.commands if words[0] == command]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()
    monkeypatch.setattr(slurm, "ask", queue.ask)
    return queue


def waits(words: tuple[str, ...]) -> str:
    return next((word.removeprefix("--dependency=") for word in words if word.startswith("--dependency=")), "")


def test_each_job_waits_for_the_jobs_that_make_what_it_reads(queue: Queue, recipes: Path, tmp_path: Path) -> None:
    told = submit(str(recipes / "chain.yaml"), [f"out={tmp_path / 'c'}"], SCRIPTS)
    jobs = queue.submitted()
    assert list(jobs) == ["shard", "pretrain", "probe", "finetune", "export", "report", "c"]
    assert {run: waits(words) for run, words in jobs.items()} == {
        "shard": "",
        "pretrain": "afterok:101",
        "probe": "afterok:101:102",
        "finetune": "afterok:101:102",
        "export": "afterok:101:104",
        "report": "afterok:101:102:103:104:105",
        "c": "afterany:101:102:103:104:105:106",
    }
    assert all(("--kill-on-invalid-dep=yes" in words) == bool(waits(words)) for words in jobs.values())
    assert "     104  finetune  after shard, pretrain" in told
    assert "scancel 101 102 103 104 105 106 107" in told
    assert json.loads((tmp_path / "c" / "jobs.json").read_text())["export"] == "105"


def test_each_job_runs_the_config_that_the_chain_runs(queue: Queue, recipes: Path, tmp_path: Path) -> None:
    words = [f"out={tmp_path / 'c'}", "pretrain.seed=7", "finetune.trainer.batch=8"]
    submit(str(recipes / "chain.yaml"), words, SCRIPTS)
    _, links = chains.load(str(recipes / "chain.yaml"), words)
    for link in links:
        script, recipe = queue.submitted()[link.run][-2:]
        assert Path(script).name == f"{link.stage}.sbatch"
        assert config.load(module(link.stage).Config, recipe) == link.config
    assert chains.noted(tmp_path / "c") == [link.run for link in links]


def test_options_of_a_stage_come_from_its_variable(
    queue: Queue, recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETRAIN_OPTIONS", "--nodes=2 --ntasks-per-node=4 --comment='for a paper'")
    monkeypatch.setenv("SHARD_OPTIONS", "--array=0-3")
    submit(str(recipes / "chain.yaml"), [f"out={tmp_path / 'c'}"], SCRIPTS)
    assert {"--nodes=2", "--ntasks-per-node=4", "--comment=for a paper"} <= set(queue.submitted()["pretrain"])
    assert f"--output={tmp_path}/c/shard/jobs/%A_%a.log" in queue.submitted()["shard"]
    assert f"--output={tmp_path}/c/pretrain/jobs/%j.log" in queue.submitted()["pretrain"]
    assert (tmp_path / "c" / "pretrain" / "jobs").is_dir()


def test_a_chain_that_slurm_refuses_in_the_middle_leaves_no_job_behind(
    queue: Queue, recipes: Path, tmp_path: Path
) -> None:
    queue.refuses = "finetune"
    with pytest.raises(JobError, match="invalid partition"):
        submit(str(recipes / "chain.yaml"), [f"out={tmp_path / 'c'}"], SCRIPTS)
    assert [words[1] for words in queue.of("scancel")] == ["101", "102", "103"]
    assert not (tmp_path / "c" / "jobs.json").exists()


def test_mistakes_are_found_before_anything_is_submitted(queue: Queue, recipes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.bach"):
        submit(str(recipes / "chain.yaml"), [f"out={tmp_path / 'c'}", "pretrain.trainer.bach=1"], SCRIPTS)
    with pytest.raises(JobError, match="submit from the root of the project"):
        submit(str(recipes / "chain.yaml"), [f"out={tmp_path / 'c'}"], tmp_path)
    assert queue.commands == []


def test_a_chain_is_not_submitted_twice_at_a_time(queue: Queue, recipes: Path, tmp_path: Path) -> None:
    words = (str(recipes / "chain.yaml"), [f"out={tmp_path / 'c'}"], SCRIPTS)
    submit(*words)
    with pytest.raises(JobError, match=r"shard is job 101; .*scancel 101 102 103 104 105 106 107"):
        submit(*words)
    queue.state = "COMPLETED"
    submit(*words)
    assert len(queue.of("sbatch")) == 14


def test_the_last_job_writes_the_summary_that_the_chain_writes(
    chain: tuple[Path, Done], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = chain
    before = (out / chains.SUMMARY).read_text()
    (out / chains.SUMMARY).unlink()
    assert conclude(out) == 0
    assert json.loads((out / chains.SUMMARY).read_text()) == json.loads(before)
    assert "kNN accuracy" in capsys.readouterr().out


def test_the_last_job_of_a_chain_that_failed_says_where_and_what_was_not_run(
    queue: Queue, recipes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c"
    submit(str(recipes / "chain.yaml"), [f"out={out}"], SCRIPTS)
    states = {"101": "FAILED ExitCode=2:0"}
    monkeypatch.setattr(slurm, "ask", lambda *w, **_: f"JobId={w[-1]} JobState={states.get(w[-1], 'CANCELLED')}\n")
    assert conclude(out) == 1
    said = capsys.readouterr().out
    assert f"shard failed (job 101 failed, exit status 2); its logs: {out / 'shard' / 'jobs'}" in said
    assert "not run: pretrain, probe, finetune, export, report" in said
    assert not (out / chains.SUMMARY).exists()
