"""The directories that a command line names, found without the stage's classes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import config
from pipeline.errors import ConfigError, JobError
from pipeline.jobs.sweep import chosen
from pipeline.jobs.target import Target
from pipeline.stages import STAGES
from pipeline.stages.stage import module

RECIPES = Path(__file__).parents[3] / "configs"


def test_recipe_bases_and_overrides_count(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text("out: runs/below\nshards: here\n")
    (tmp_path / "own.yaml").write_text("base: below.yaml\nshards: [{path: a, weight: 2}, {path: b}]\n")
    target = Target.of("pretrain", [str(tmp_path / "own.yaml"), "trainer.batch=4", "cache.folder=/scratch"])
    assert (target.out, target.shards, target.cache) == (Path("runs/below"), ("a", "b"), "/scratch")
    assert Target.of("pretrain", ["out=x", "shards=y"]).shards == ("y",)
    assert Target.of("shard", ["out=x"]).shards == ()


def test_a_stage_that_reads_features_reads_shards_only_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("knn", "linear", "fetch"):
        monkeypatch.setitem(STAGES, stage, "")
    assert Target.of("knn", ["features=runs/features"]).shards == ()
    assert Target.of("linear", ["shards=runs/shard"]).shards == ("runs/shard",)
    assert Target.of("fetch", ["source=x"]).shards == ()


@pytest.mark.parametrize(
    ("stage", "words", "trains"),
    [
        ("pretrain", [], True),
        ("finetune", [], True),
        ("linear", ["over=crops"], True),
        ("linear", ["over=features"], False),
        ("linear", [], False),
        ("knn", [], False),
    ],
)
def test_what_saves_no_checkpoint_is_no_training_that_must_get_on(stage: str, words: list[str], trains: bool) -> None:
    assert Target.of(stage, words).trains == trains


@pytest.mark.parametrize("stage", ["pretrain", "probe", "finetune", "export", "shard"])
def test_it_finds_the_directories_that_the_stage_itself_finds(stage: str) -> None:
    recipe = RECIPES / "demo" / f"{stage}.yaml"
    settings = config.load(module(stage).Config, recipe, ["seed=3"] if stage == "pretrain" else [])
    target = Target.of(stage, [str(recipe)])
    assert str(target.out) == settings.out
    assert target.shards == tuple(i.path for i in module(stage).inputs(settings).values() if i.kind == "shards")


def test_mistakes_in_what_it_reads_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="did you mean pretrain"):
        Target.of("pretrian", [])
    with pytest.raises(ConfigError, match="no such recipe"):
        Target.of("pretrain", [str(tmp_path / "none.yaml")])


def test_each_task_of_a_sweep_gets_its_line_and_its_directory(tmp_path: Path) -> None:
    recipe, lines = tmp_path / "r.yaml", tmp_path / "lines.txt"
    recipe.write_text("out: runs/try\n")
    lines.write_text(
        "# rates\noptimizer.rate=0.1 seed=1\n\noptimizer.rate=0.2 'a.b=[1, 2]'  # the best\nseed=3 out=mine\n"
    )
    first, second, third = (chosen("pretrain", str(recipe), lines, ["x=1"], task) for task in (1, 2, 3))
    assert first.words == (str(recipe), "x=1", "optimizer.rate=0.1", "seed=1", "out=runs/try-001")
    assert first.out == Path("runs/try-001")
    assert second.words == (str(recipe), "x=1", "optimizer.rate=0.2", "a.b=[1, 2]", "out=runs/try-002")
    assert third.out == Path("mine")
    with pytest.raises(JobError, match=r"has 3 lines of overrides, but this is task 4; .*--array=1-3"):
        chosen("pretrain", str(recipe), lines, [], 4)
    with pytest.raises(JobError, match=r"none\.txt: cannot be read"):
        chosen("pretrain", str(recipe), tmp_path / "none.txt", [], 1)


def test_batch_scripts_and_status_start_without_torch() -> None:
    code = (
        "import sys; import pipeline.jobs.launch, pipeline.jobs.preflight, pipeline.jobs.status, pipeline.jobs.sweep;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
