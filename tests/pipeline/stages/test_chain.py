"""The whole chain: what it makes, that it does nothing twice, and that a kill at any stage loses nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.artifacts import Artifact
from pipeline.errors import ConfigError
from pipeline.released import safetensors
from pipeline.stages import chain as chains
from tests.commands import Done, kill_when, run, started

RUNS = ("shard", "pretrain", "probe", "finetune", "export", "report")
SUMMARY = (
    *("loss_first", "loss_last", "ln_k", "knn_random", "knn_pretrained", "linear_random", "linear_pretrained"),
    *("finetune_accuracy", "seconds"),
)


def artifacts(out: Path) -> dict[str, tuple[str, str]]:
    """What was asked for and what came of it, for each run."""
    return {name: (a.fingerprint, a.content) for name in RUNS for a in [Artifact.load(out / name)]}


def records(out: Path) -> list[dict[str, float]]:
    """Of the pretraining."""
    return [json.loads(line) for line in (out / "pretrain" / "metrics.jsonl").read_text().splitlines()]


def test_a_chain_leaves_every_artifact_and_a_summary(chain: tuple[Path, Done]) -> None:
    out, done = chain
    kinds = [Artifact.load(out / name).kind for name in RUNS]
    assert kinds == ["shards", "checkpoint", "scores", "checkpoint", "exported", "report"]
    summary = json.loads((out / "summary.json").read_text())
    assert set(SUMMARY) <= set(summary)
    assert summary["ln_k"] == pytest.approx(2.0794, abs=1e-3)
    first = next(record for record in records(out) if "loss" in record)
    assert summary["loss_first"] == pytest.approx(first["loss"], abs=1e-3)
    for name in RUNS:
        assert {"config.yaml", "artifact.json", "report.html"} <= {path.name for path in (out / name).iterdir()}
    assert "kNN accuracy" in done.output
    assert str(out / "report") in done.output


def test_every_step_is_recorded_once(chain: tuple[Path, Done]) -> None:
    out, _ = chain
    assert [r["step"] for r in records(out) if "loss" in r] == list(range(1, 13))
    assert [r["step"] for r in records(out) if "knn" in r] == [0, 3, 6, 9, 12]


def test_the_same_command_again_does_nothing(chain: tuple[Path, Done], recipes: Path) -> None:
    out, _ = chain
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = run("chain", str(recipes / "chain.yaml"), f"out={out}")
    assert again.status == 0, again.errors
    assert again.output.count("is up to date") == len(RUNS)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert {p for p in after if after[p] != before.get(p)} == {out / "summary.json", out / "chain.yaml"}


def test_a_stage_alone_from_its_written_config_is_the_same_run(chain: tuple[Path, Done]) -> None:
    out, _ = chain
    again = run("probe", str(out / "probe" / "config.yaml"))
    assert again.status == 0, again.errors
    assert "is up to date" in again.output


def test_the_exported_file_gives_the_outputs_of_its_checkpoint(chain: tuple[Path, Done]) -> None:
    out, _ = chain
    path = out / "export" / "model.safetensors"
    network = safetensors.load(path)
    assert set(load_file(path)) == set(network.state_dict())
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert safetensors.describe(path)["classes"] == ["brick", "coffee", "moon"]
    assert Artifact.load(out / "export").figures["largest_difference"] <= 1e-5


def test_a_kill_in_each_stage_changes_nothing_in_the_end(
    chain: tuple[Path, Done], recipes: Path, tmp_path: Path
) -> None:
    out, command = tmp_path / "runs", ("chain", str(recipes / "chain.yaml"), f"out={tmp_path / 'runs'}")

    def steps(run_name: str, at_least: int) -> bool:
        path = out / run_name / "metrics.jsonl"
        return path.exists() and len(re.findall(r'"loss"', path.read_text())) >= at_least

    moments = [
        lambda: (out / "shard" / ".lock").exists(),
        lambda: steps("pretrain", 5),
        lambda: steps("pretrain", 9),
        lambda: (out / "probe" / ".lock").exists(),
        lambda: steps("finetune", 2),
        lambda: (out / "export" / ".lock").exists(),
        lambda: (out / "report" / "config.yaml").exists(),
    ]
    killed = 0
    for moment in moments:
        killed += kill_when(started(*command), moment).status == -9
    assert killed >= len(moments) - 2, "most kills hit a running command"
    done = run(*command)
    assert done.status == 0, done.errors
    undisturbed, _ = chain
    assert artifacts(out) == artifacts(undisturbed)
    assert [r["step"] for r in records(out) if "loss" in r] == list(range(1, 13))
    once = [(r["step"], r["knn"]) for r in records(out) if "knn" in r]
    assert once == [(r["step"], r["knn"]) for r in records(undisturbed) if "knn" in r]


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(recipes: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    command = ("chain", str(recipes / "chain.yaml"), f"out={out}")
    metrics = out / "pretrain" / "metrics.jsonl"
    stopped = kill_when(started(*command), lambda: metrics.exists() and '"step": 4' in metrics.read_text(), how=2)
    assert stopped.status == 130, stopped.errors
    assert "Traceback" not in stopped.errors
    assert "the same command goes on where it stopped" in stopped.errors
    assert "going on from step" in run(*command).output


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["pretrian.trainer.batch=64"], "did you mean pretrain?"),
        (["pretrain.trainer.bach=64", "probe.knn.k=many"], "pretrain: command line: trainer.bach: no such key"),
        (
            ["pretrain.trainer.bach=64", "probe.knn.k=many"],
            "probe: command line: knn.k: input should be a valid integer",
        ),
    ],
)
def test_mistakes_anywhere_in_a_chain_are_reported_before_it_starts(
    recipes: Path, overrides: list[str], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        chains.load(str(recipes / "chain.yaml"), overrides)
    assert says in str(caught.value)


def test_a_stage_takes_its_inputs_from_the_runs_before_it(recipes: Path, tmp_path: Path) -> None:
    recipe = recipes / "wired.yaml"
    recipe.write_text(
        f"out: {tmp_path}\nstages:\n  - shard: shard.yaml\n  - pretrain: pretrain.yaml\n"
        "  - finetune-few: {recipe: finetune.yaml, labels: 0.1}\n  - finetune-all: finetune.yaml\n"
        "  - export: {recipe: export.yaml}\n  - probe: {recipe: probe.yaml, checkpoint: elsewhere}\n"
    )
    _, links = chains.load(str(recipe), ["finetune-all.seed=5"])
    configs = {link.run: link.config for link in links}
    assert configs["finetune-few"].checkpoint == configs["finetune-all"].checkpoint == str(tmp_path / "pretrain")
    assert configs["finetune-few"].labels == 0.1
    assert configs["finetune-all"].seed == 5
    assert configs["export"].checkpoint == str(tmp_path / "finetune-all")
    assert configs["probe"].checkpoint == "elsewhere"
    assert configs["probe"].shards == str(tmp_path / "shard")
