"""Fine-tuning from end to end: the same on several processes and after interruptions, and what is refused at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.stream import ShardSet
from pipeline import config as recipes
from pipeline.__main__ import main
from pipeline.artifacts import Artifact, checkpoint_content
from pipeline.checkpoints.store import content, read_tensors
from pipeline.errors import ArtifactError, RunError
from pipeline.results import share
from pipeline.stages import finetune
from pipeline.stages.stage import execute
from pipeline.training import trained
from pipeline.training.module import ObjectiveModule
from tests.commands import run
from tests.pipeline.evaluation.extracted import checkpoint, shards

STEPS = 6
SETTINGS = (
    *("trainer.batch=16", f"trainer.duration={STEPS} steps", "trainer.checkpoint_every=2 steps", "trainer.log_every=1"),
    *("trainer.precision=fp64", "trainer.wandb=off", "trainer.accelerator=cpu", "views.size=32", "max_bad=1"),
    *("objective.mixing.mixup=0.8", "objective.mixing.cutmix=1.0", "objective.label_smoothing=0.1"),
    *("optimizer.larc=null", "optimizer.layers.decay=0.7", "optimizer.layers.head=3", "average.decay=0.8"),
    "per_class=12",
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Shards with three classes and a checkpoint of a small backbone, as words of a command."""
    folder, threads = tmp_path_factory.mktemp("sources"), torch.get_num_threads()
    torch.set_num_threads(1)  # what is compared to the bit is computed by one thread
    yield f"shards={shards(folder / 'shards')}", f"checkpoint={checkpoint(folder / 'checkpoint')}"
    torch.set_num_threads(threads)


def recipe(sources: tuple[str, str], out: Path, *more: str) -> finetune.Config:
    return recipes.load(finetune.Config, None, [*sources, f"out={out}", *SETTINGS, *more])


def losses(out: Path) -> list[float]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    found = [record for record in records if "loss" in record]
    assert [record["step"] for record in found] == list(range(1, STEPS + 1))
    return [record["loss"] for record in found]


@pytest.fixture(scope="module")
def alone(sources: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on one process that nobody disturbed."""
    out = tmp_path_factory.mktemp("alone") / "run"
    execute("finetune", recipe(sources, out))
    return out


def test_a_run_ends_with_its_accuracy_and_an_average_that_is_a_checkpoint(alone: Path) -> None:
    artifact = Artifact.load(alone)
    scores = json.loads((alone / "scores.json").read_text())
    assert artifact.figures["accuracy"] == pytest.approx(scores["accuracy"], abs=1e-4)
    assert scores["samples"] == 22
    assert artifact.facts["labels"] == 36
    assert artifact.facts["checkpoint"] == f"averaged/checkpoints/step-{STEPS:09d}"
    assert artifact.facts["classes"] == ["class0", "class1", "class2"]
    assert artifact.facts["view"]["size"] == 32, "as the checkpoint asks for"
    for facts in (artifact.facts, {**artifact.facts, "view": {"size": 48}}, {**artifact.facts, "classes": ["a", "b"]}):
        told = checkpoint_content(content(alone / artifact.facts["checkpoint"]), facts)
        assert (told == artifact.content) == (facts is artifact.facts)
    averaged = read_tensors(alone / artifact.facts["checkpoint"], "")
    last = read_tensors(alone / "checkpoints" / f"step-{STEPS:09d}", "")
    assert {"classifier.weight", "backbone.stem.conv.weight"} < set(averaged) == set(last)
    assert not averaged["classifier.weight"].equal(last["classifier.weight"])
    assert artifact.figures["accuracy_balanced"] == scores["accuracy_balanced"]
    assert artifact.figures["nll"] == scores["nll"]
    found = json.loads((alone / "results.json").read_text())
    assert found["tables"][0]["title"] == "Accuracy on 22 images of split test"
    assert found["tables"][0]["rows"][0][:2] == ["pretrained", share(scores["accuracy"])]
    assert found["charts"][0]["title"] == "Accuracy by confidence"


def test_without_an_average_the_last_checkpoint_is_the_result(sources: tuple[str, str], tmp_path: Path) -> None:
    artifact = execute("finetune", recipe(sources, tmp_path / "run", "average=null", "trainer.duration=1 steps"))
    assert artifact.facts["checkpoint"] == "checkpoints/step-000000001"


def test_a_finished_run_lends_its_classifier_to_another(alone: Path, sources: tuple[str, str], tmp_path: Path) -> None:
    more = (f"checkpoint={alone}", "classifier=checkpoint", "trainer.duration=1 steps", "average=null")
    execute("finetune", recipe(sources, tmp_path / "run", *more, "optimizer.rate=1e-9"))
    artifact = Artifact.load(alone)
    given = read_tensors(alone / artifact.facts["checkpoint"], "classifier.")["weight"]
    found = read_tensors(tmp_path / "run" / "checkpoints" / "step-000000001", "classifier.")["weight"]
    torch.testing.assert_close(found, given, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_two_sharded_processes_come_to_the_same(alone: Path, sources: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("finetune", *sources, f"out={out}", *SETTINGS, "trainer.devices=2")
    assert done.status == 0, done.errors
    assert losses(out) == pytest.approx(losses(alone), abs=1.5e-6)
    assert json.loads((out / "scores.json").read_text()) == json.loads((alone / "scores.json").read_text())
    assert "Accuracy on 22 images of split test" in done.output
    mine, theirs = (read_tensors(at / Artifact.load(at).facts["checkpoint"], "") for at in (out, alone))
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, atol=1e-6, rtol=1e-5)


class Killed(BaseException):
    """The end of a process, as far as what it leaves on the disk is concerned."""


def killed(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: int, config: finetune.Config) -> None:
    """Run it until something is called for the `when`-th time."""
    plain, calls = getattr(owner, name), []

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == when:
            raise Killed
        return plain(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, counted)
        with pytest.raises(Killed):
            execute("finetune", config)


def test_interrupted_in_training_and_in_its_measurement_it_comes_to_the_same_to_the_bit(
    alone: Path, sources: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(sources, tmp_path / "run")
    killed(monkeypatch, ObjectiveModule, "training_step", 4, config)
    killed(monkeypatch, trained, "keep", 1, config)
    killed(monkeypatch, trained, "classify", 1, config)
    artifact = execute("finetune", config)
    assert artifact.content == Artifact.load(alone).content
    assert losses(tmp_path / "run") == losses(alone)
    assert (tmp_path / "run" / "scores.json").read_bytes() == (alone / "scores.json").read_bytes()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence with which a command line is refused."""
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    return errors


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (["labels=0"], "labels is a share above 0"),
        (["labels=0.1", "per_class=3"], "per_class must be at least 1, and takes the place of labels"),
        (["start=scratch", "classifier=checkpoint"], "a network from scratch has a new one"),
        (["objective.mixing.mixup=-1"], "mixup is an alpha above 0"),
        (["optimizer.layers.decay=2"], "decay must be above 0 and at most 1"),
        (["average.decay=1"], "decay must be at least 0 and below 1"),
    ],
)
def test_what_cannot_be_is_a_mistake_in_the_recipe(
    capsys: pytest.CaptureFixture[str], setting: list[str], says: str
) -> None:
    assert says in refused(capsys, "finetune", *setting)


def test_a_list_with_strangers_is_refused_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str], sources: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("n01440764_10026.JPEG\n")
    labels = f"labels={tmp_path / 'list.txt'}"
    says = refused(capsys, "finetune", *sources, f"out={tmp_path / 'run'}", *SETTINGS[:-1], labels)
    assert "names 1 of 1 that are no samples" in says
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_list_that_leaves_out_a_class_of_the_test_is_refused(sources: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("0.jpg\n1.jpg\n")
    config = recipe(sources, tmp_path / "run", "per_class=null", f"labels={tmp_path / 'list.txt'}")
    with pytest.raises(ArtifactError, match="7 images of class class2, of which there is no label to learn from"):
        execute("finetune", config)


def test_a_classifier_is_taken_only_from_a_checkpoint_that_has_one(sources: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="has no classifier"):
        execute("finetune", recipe(sources, tmp_path / "run", "classifier=checkpoint"))


def test_a_list_chooses_the_images_that_it_names_and_a_changed_list_is_another_run(
    alone: Path, sources: tuple[str, str], tmp_path: Path
) -> None:
    train = ShardSet(sources[0].partition("=")[2], "train")
    path = tmp_path / "list.txt"
    path.write_text("10.jpg\n2.jpg\n")
    config = finetune.Config(labels=str(path))
    keys = train.keys()
    chosen = finetune.choose(config, train, train.labels())
    assert [keys[index].partition("-")[2] for index in chosen] == ["2", "10"]
    with pytest.raises(RunError, match="has changed since"):
        finetune.recheck(config, Artifact.load(alone))
