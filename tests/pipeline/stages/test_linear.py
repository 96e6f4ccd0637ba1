"""The stage `linear`: over features against scikit-learn; over crops on one process and on two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.__main__ import main
from pipeline.artifacts import Artifact
from pipeline.errors import ArtifactError, RunError
from pipeline.evaluation.heads import linear as over_features
from pipeline.evaluation.heads.grid import Grid
from pipeline.stages.linear import Config
from pipeline.stages.stage import execute
from pipeline.training.schedules import WarmupCosine
from pipeline.training.settings import TrainerConfig
from tests.commands import run
from tests.pipeline.evaluation.extracted import checkpoint, shards
from tests.pipeline.evaluation.made_features import clouds, feature_set

CLASSES = [f"class{n}" for n in range(5)]
GRID = Grid.Config(rates=(0.01, 0.1, 1.0, 10.0, 3000.0), weight_decay=1e-3)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two taps: one tells classes apart, the other is noise; one sample in ten has no label."""
    splits = {}
    for split, samples, seed in (("train", 800, 0), ("test", 1000, 1)):
        vectors, labels = clouds(samples, seed)
        labels[::10] = -1
        noise = torch.randn(samples, 8, generator=torch.Generator().manual_seed(seed))
        splits[split] = ({"average": vectors + 3, "res2 max": noise}, labels)
    return feature_set(tmp_path_factory.mktemp("made") / "features", splits, CLASSES)


def config(features: Path, out: Path, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "features": str(features),
        "out": str(out),
        "grid": GRID,
        "trainer": TrainerConfig(duration="30 epochs", batch=64, accelerator="cpu"),
    }
    return Config(**{**settings, **changes})


@pytest.fixture(scope="module")
def probed(features: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Mapping[str, Any]]:
    """The artifact and scores.json of a probe over those features."""
    artifact = execute("linear", config(features, tmp_path_factory.mktemp("linear") / "run"))
    return artifact, json.loads((artifact.path / "scores.json").read_text())


def test_it_finds_what_scikit_learn_finds_at_the_same_penalty(features: Path, tmp_path: Path) -> None:
    logistic = pytest.importorskip("sklearn.linear_model")
    (vectors, labels), (queries, answers) = clouds(800, 0), clouds(1000, 1)
    known, asked = torch.arange(800) % 10 != 0, torch.arange(1000) % 10 != 0
    reference = logistic.LogisticRegression(C=1 / (720 * 1e-2), max_iter=2000)
    reference.fit(vectors[known].numpy() + 3, labels[known].numpy())
    expected = reference.score(queries[asked].numpy() + 3, answers[asked].numpy())
    one = Grid.Config(rates=(0.1,), batch_norm="without", weight_decay=1e-2)
    found = execute("linear", config(features, tmp_path / "run", grid=one, taps=("average",)))
    assert found.figures["accuracy"] == pytest.approx(expected, abs=0.003)
    assert found.figures["accuracy"] > 0.8


def test_the_head_is_the_best_on_what_was_held_out(probed: tuple[Artifact, Mapping[str, Any]]) -> None:
    artifact, scores = probed
    assert len(scores["grid"]) == 2 * 2 * 5
    best = max(scores["grid"], key=lambda head: head["held_out"])
    assert scores["head"] == {key: best[key] for key in ("tap", "batch_norm", "rate")}
    assert scores["samples"] == 900
    assert scores["head"]["tap"] == "average"
    assert artifact.figures["held_out"] == best["held_out"]
    assert set(artifact.figures) == {"accuracy", "accuracy_top5", "held_out"}, "shares, and nothing else"
    assert artifact.facts["head"]["rate"] == best["rate"]
    assert 70 <= scores["held_out"]["samples"] <= 75, "a tenth of each class's of 720 labels"
    assert sorted(scores["per_class"]) == CLASSES


def test_the_answers_of_the_test_split_have_no_say(
    features: Path, probed: tuple[Artifact, Mapping[str, Any]], tmp_path: Path
) -> None:
    vectors, labels = clouds(800, 0)
    labels[::10] = -1
    noise = torch.randn(800, 8, generator=torch.Generator().manual_seed(0))
    queries, _ = clouds(1000, 1)
    wrong = {"average": queries, "res2 max": queries[:, :8]}, torch.zeros(1000, dtype=torch.int64)
    splits = {"train": ({"average": vectors + 3, "res2 max": noise}, labels), "test": wrong}
    made = feature_set(tmp_path / "features", splits, CLASSES)
    other = execute("linear", config(made, tmp_path / "run"))
    assert other.facts["head"] == probed[0].facts["head"]
    assert other.figures["held_out"] == probed[0].figures["held_out"]
    assert other.figures["accuracy"] != probed[0].figures["accuracy"]


def test_results_have_a_table_a_tap_and_a_line_over_the_rates(probed: tuple[Artifact, Mapping[str, Any]]) -> None:
    found = json.loads((probed[0].path / "results.json").read_text())
    grid = found["tables"][1]
    assert [row[:2] for row in grid["rows"]] == [
        [tap, norm] for tap in ("average", "res2 max") for norm in ("without", "with")
    ]
    (chart,) = found["charts"]
    assert chart["logarithmic"]
    assert [name for name, _ in chart["series"]] == ["average", "average, BatchNorm", "res2 max", "res2 max, BatchNorm"]
    assert [x for x, _ in chart["series"][0][1]] == [0.01, 0.1, 1.0, 10.0, 3000.0]
    records = [json.loads(line) for line in (probed[0].path / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["loss"] < records[0]["loss"]


def steps(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_run_over_features_begins_its_records_again(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(features, tmp_path / "run", grid=Grid.Config(rates=(0.1,), batch_norm="without"))
    with monkeypatch.context() as patch:
        patch.setattr(over_features, "ask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            execute("linear", settings)
    before = steps(tmp_path / "run")
    execute("linear", settings)
    assert steps(tmp_path / "run") == before
    assert before


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_class_that_was_never_learnt_is_refused_and_an_empty_one_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (vectors, labels), names = clouds(200, 0), [*CLASSES, "nobody"]
    train = {"average": vectors}, torch.where(labels == 3, -1, labels)
    made = feature_set(tmp_path / "a", {"train": train, "test": ({"average": vectors}, labels)}, names)
    with pytest.raises(ArtifactError, match=r"images of class class3, of which there is no label to learn from"):
        execute("linear", config(made, tmp_path / "run"))
    made = feature_set(tmp_path / "b", {"train": train, "test": train}, names)
    execute("linear", config(made, tmp_path / "run2", trainer=TrainerConfig(duration=2, batch=64, accelerator="cpu")))
    assert "linear: class class3, nobody has no image at all and is never chosen" in capsys.readouterr().out


def test_a_best_rate_at_the_edge_is_doubted(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = Grid.Config(rates=(1e-6, 1e-4), batch_norm="without")
    execute("linear", config(features, tmp_path / "run", grid=few, taps=("average",)))
    assert "The best rate is the greatest of those tried: try larger ones." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"taps": ("res3 max",)}, "holds no features of tap 'res3 max'"),
        ({"test": "val"}, "holds no features of split 'val'; it has train, test"),
    ],
)
def test_what_was_not_extracted_is_named(features: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        execute("linear", config(features, tmp_path / "run", **changes))


def test_features_that_do_not_fit_into_memory_are_refused(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(over_features, "free_memory", lambda: 1000)
    with pytest.raises(RunError, match=r"holds 0\.0 GB of these taps.*one tap after the other"):
        execute("linear", config(features, tmp_path / "run"))


def test_too_few_labels_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    split = ({"average": torch.randn(3, 4)}, torch.tensor([0, 1, 2]))
    made = feature_set(tmp_path / "features", {"train": split, "test": split}, CLASSES)
    with pytest.raises(ArtifactError, match=r"has 3 labels to learn from, too few to hold 0\.1 of each class out"):
        execute("linear", config(made, tmp_path / "run"))


def test_features_without_classes_are_refused(tmp_path: Path) -> None:
    vectors, labels = clouds(40, 0)
    split = ({"average": vectors}, torch.full_like(labels, -1))
    made = feature_set(tmp_path / "features", {"train": split, "test": split}, [])
    with pytest.raises(ArtifactError, match="has no labels"):
        execute("linear", config(made, tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"held_out": 0.0}, "held_out is a share above 0"),
        ({"taps": ("res4 pool",)}, "'res4 pool' is no tap"),
        ({"trainer": TrainerConfig(devices=2)}, "over features one process trains"),
    ],
)
def test_a_config_that_means_nothing_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        config(tmp_path, tmp_path / "run", **changes)


CROPS = (
    *("over=crops", "taps=[average, res2 pool 2x1]", "grid.rates=[0.1, 1.0]", "held_out=0.2", "max_bad=1.0"),
    *("views.size=24", "schedule.warmup=0 steps", "trainer.precision=fp64", "trainer.duration=6 steps"),
    *("trainer.batch=16", "trainer.wandb=off", "trainer.log_every=1", "trainer.checkpoint_every=3 steps"),
)


@pytest.mark.slow
def test_over_crops_two_sharded_processes_find_what_one_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (f"shards={shards(tmp_path / 'shards')}", f"checkpoint={checkpoint(tmp_path / 'checkpoint')}")

    def command(devices: int) -> list[str]:
        return ["linear", *where, *CROPS, f"out={tmp_path / str(devices)}", f"trainer.devices={devices}"]

    def found(devices: int) -> tuple[list[float], Mapping[str, Any]]:
        out = tmp_path / str(devices)
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return [r["loss"] for r in records if "loss" in r], json.loads((out / "scores.json").read_text())

    assert main(command(1)) == 0
    done = run(*command(2))
    assert done.status == 0, done.errors
    (losses, scores), (shared, same) = found(1), found(2)
    assert len(losses) == 6
    assert shared == pytest.approx(losses, abs=1.5e-6)
    assert same == scores
    assert scores["samples"] == 22
    assert len(scores["grid"]) == 8
    (tmp_path / "1" / "artifact.json").unlink()
    capsys.readouterr()
    assert main(command(1)) == 0
    assert "going on from step 6 of 6" in capsys.readouterr().out
    assert found(1)[1] == scores


def test_a_tap_that_the_network_has_not_is_named(tmp_path: Path) -> None:
    crops = Config(
        over="crops",
        shards=str(shards(tmp_path / "shards")),
        checkpoint=str(checkpoint(tmp_path / "checkpoint")),
        out=str(tmp_path / "run"),
        taps=("res5 max",),
        schedule=WarmupCosine(warmup=0),
    )
    with pytest.raises(RunError, match="the network has the stages res2 to res3"):
        execute("linear", replace(crops))
