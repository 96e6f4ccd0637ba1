"""The stage `evaluate`: what a plain loop finds, classes by name, seeds, many processes as one, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from torch import Tensor

from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.artifacts import Artifact
from pipeline.checkpoints.state import OBJECTIVE
from pipeline.checkpoints.store import read_tensors, save
from pipeline.checkpoints.tensors import root_hash
from pipeline.config import to_mapping
from pipeline.errors import ArtifactError, RunError
from pipeline.evaluation.compute import Compute
from pipeline.evaluation.features import extract
from pipeline.evaluation.intervals import over_seeds, wilson
from pipeline.models.initialise import initialise
from pipeline.released import backbones
from pipeline.results import plus_minus
from pipeline.runs import Run
from pipeline.stages import evaluate
from pipeline.stages.evaluate import Config
from pipeline.stages.stage import execute
from tests.data_shards.pictures import Listed, jpeg, pack_into, pixels
from tests.distributed import on_processes
from tests.pipeline.evaluation.extracted import BROKEN, SMALL, VIEW, shards

CLASSES = ("class0", "class1", "class2", "class3", "class4", "class5", "class6")


def classifier(out: Path, seed: int = 0, classes: Sequence[str] = CLASSES, scale: float = 20.0) -> Path:
    """A finished run with a backbone and a classifier drawn by a seed, which takes pictures for different classes."""
    backbone = SMALL.build()
    initialise(backbone, seed)
    tensors = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    if classes:
        draw = torch.Generator().manual_seed(seed)
        tensors["classifier.weight"] = scale * torch.randn(len(classes), backbone.width, generator=draw)
        pictures = torch.from_numpy(np.stack([pixels(n, 32, 32) for n in range(20)])).permute(0, 3, 1, 2)
        with torch.no_grad():
            mean = backbone.eval()(backbone.prepare(pictures)).mean(0)
        tensors["classifier.bias"] = -tensors["classifier.weight"] @ mean
    saved = save(out, {OBJECTIVE: tensors}, step=1, consumed=1, keep=1)
    facts = {"checkpoint": str(saved.path.relative_to(out)), "model": to_mapping(SMALL), "view": VIEW}
    Artifact(
        stage="finetune",
        kind="checkpoint",
        fingerprint="made",
        content=root_hash(tensors),
        facts={**facts, "classes": list(classes)},
        path=out,
    ).save()
    return out


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """60 pictures of three of the network's seven classes; some are broken or have no label."""
    folder, threads = tmp_path_factory.mktemp("evaluate"), torch.get_num_threads()
    torch.set_num_threads(1)  # what is compared closely is computed by one thread
    yield Config(
        out=str(folder / "out"),
        shards=str(shards(folder / "shards")),
        checkpoint=str(classifier(folder / "seed0")),
        split="train",
        compute=Compute(batch=16),
        max_bad=1.0,
    )
    torch.set_num_threads(threads)


def plain(config: Config, checkpoint: str) -> tuple[Tensor, Tensor]:
    """Scores of all classes and labels, of samples that have both, by the simplest way."""
    source = Artifact.load(checkpoint)
    path = source.path / str(source.facts["checkpoint"])
    with Loader(
        ShardSet(config.shards, config.split), backbones.view(source).build(), batch=8, shuffle=False
    ) as loader:
        found = extract(backbones.load(source), loader).labelled()
    classifier = read_tensors(path, "classifier.")
    return found.features @ classifier["weight"].T + classifier["bias"], found.labels


def scores_of(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(out) / "scores.json").read_text())
    return found


def test_figures_are_those_of_a_plain_loop_among_the_classes_of_the_test(
    recipe: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    made = execute("evaluate", recipe)
    scores, labels = plain(recipe, str(recipe.checkpoint))
    scores, truth = scores[:, :3], labels.numpy()
    guesses = scores.argmax(1).numpy()
    assert len(labels) == 60 - len(BROKEN) - 6
    assert len(set(guesses.tolist())) > 1
    accuracy = accuracy_score(truth, guesses)
    assert made.figures["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert made.figures["accuracy_top5"] == 1  # of three classes
    ends = wilson(round(accuracy * len(labels)), len(labels))
    assert (made.figures["accuracy_low"], made.figures["accuracy_high"]) == pytest.approx(ends, abs=1e-6)
    assert made.figures["nll"] == pytest.approx(log_loss(truth, scores.double().softmax(1), labels=range(3)), rel=1e-4)
    found = scores_of(recipe.out)
    matrix = confusion_matrix(truth, guesses, labels=range(3))
    shares = [round(float(row[n] / row.sum()), 4) for n, row in enumerate(matrix)]
    assert found["per_class"] == {f"class{n}": share for n, share in enumerate(shares)}
    assert found["confused"][0]["samples"] == max(matrix[i][j] for i in range(3) for j in range(3) if i != j)
    assert (found["samples"], found["left_out"]) == (len(labels), 60 - len(labels))
    said = capsys.readouterr().out
    assert f"Accuracy on {len(labels)} images of split train" in said
    assert "left out: 8." in said
    assert "Most often taken for another" in said
    [chart] = json.loads((Path(recipe.out) / "results.json").read_text())["charts"]
    name, pairs = chart["series"][0]
    assert name == "seed0"
    assert [n for pair in pairs for n in pair] == pytest.approx(
        [n for pair in found["reliability"] for n in pair], abs=1e-6
    )


def test_among_all_classes_the_network_may_name_one_that_the_test_has_not(recipe: Config, tmp_path: Path) -> None:
    made = execute("evaluate", replace(recipe, out=str(tmp_path / "all"), among="all"))
    scores, labels = plain(recipe, str(recipe.checkpoint))
    assert made.figures["accuracy"] == pytest.approx(accuracy_score(labels, scores.argmax(1)), abs=1e-6)
    top5 = (scores.topk(5).indices == labels[:, None]).any(1).double().mean()
    assert made.figures["accuracy_top5"] == pytest.approx(float(top5), abs=1e-6)
    assert made.figures["accuracy_top5"] < 1
    assert {pair["taken_for"] for pair in scores_of(str(tmp_path / "all"))["confused"]} - set(CLASSES[:3])


def test_classes_are_matched_by_name_and_not_by_their_place(recipe: Config, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    source = Artifact.load(str(recipe.checkpoint))
    tensors = read_tensors(source.path / str(source.facts["checkpoint"]), "")
    tensors |= {name: tensors[name].flip(0) for name in ("classifier.weight", "classifier.bias")}
    saved = save(turned, {OBJECTIVE: tensors}, step=1, consumed=1, keep=1)
    facts = {**source.facts, "checkpoint": str(saved.path.relative_to(turned)), "classes": list(CLASSES[::-1])}
    replace(source, path=turned, facts=facts, content="turned").save()
    found = execute("evaluate", replace(recipe, checkpoint=str(turned), out=str(tmp_path / "a"))).figures
    assert dict(found) == pytest.approx(dict(execute("evaluate", recipe).figures), abs=1e-5)


def test_seeds_give_a_mean_and_how_sure_it_is(
    recipe: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = tuple(str(classifier(tmp_path / f"run{seed}" / "finetune", seed)) for seed in range(3))
    made = execute("evaluate", replace(recipe, checkpoint=seeds, out=str(tmp_path / "out")))
    alone = []
    for path in seeds:
        scores, labels = plain(recipe, path)
        alone.append(float((scores[:, :3].argmax(1) == labels).double().mean()))
    mean, half = over_seeds(alone)
    assert made.figures["accuracy"] == pytest.approx(mean, abs=1e-6)
    assert made.figures["accuracy_plus_minus"] == pytest.approx(half, abs=1e-6)
    assert set(made.inputs) == {"shards", "checkpoint 1", "checkpoint 2", "checkpoint 3"}
    said = capsys.readouterr().out
    assert plus_minus(half) in said
    assert "run1/finetune" in said
    found = scores_of(str(tmp_path / "out"))["checkpoints"]
    assert [found[f"run{seed}/finetune"]["accuracy"] for seed in range(3)] == pytest.approx(alone, abs=1e-6)


def counted(rank: int, world: int, config: Config, folder: str) -> tuple[dict[str, float], str]:
    out = Path(folder)
    out.mkdir(exist_ok=True)
    result = evaluate.run(
        config, {"checkpoint": Artifact.load(str(config.checkpoint))}, Run(out, "made", writes=rank == 0)
    )
    return dict(result.figures), result.content


def test_processes_count_as_one(recipe: Config, tmp_path: Path) -> None:
    alone = counted(0, 1, recipe, str(tmp_path / "one"))
    many = on_processes(counted, 2, recipe, str(tmp_path / "many"))
    assert many[0] == many[1]
    for name, value in alone[0].items():  # batches differ in size, and so convolutions in the last digits
        assert many[0][0][name] == pytest.approx(value, abs=2e-6)
    one, other = (scores_of(str(tmp_path / name)) for name in ("one", "many"))
    for name in ("samples", "left_out", "per_class", "confused"):
        assert one[name] == other[name]


def test_what_cannot_be_asked_is_said(recipe: Config, tmp_path: Path) -> None:
    def says(sentence: str, **changes: Any) -> None:
        with pytest.raises((ArtifactError, RunError), match=sentence):
            execute("evaluate", replace(recipe, out=str(tmp_path / "refused"), **changes))

    headless = classifier(tmp_path / "headless", classes=())
    says("has no classifier; evaluate needs one; train it with finetune", checkpoint=str(headless))
    others = classifier(tmp_path / "others", classes=("class0", "cat"))
    says("has 2 of 3 classes that the checkpoint does not know: class1, class2", checkpoint=str(others))
    none = classifier(tmp_path / "none", classes=("cat", "dog"))
    says("has no class that the checkpoint knows", checkpoint=str(none), strangers="leave_out")
    says("evaluate needs a checkpoint", checkpoint=str(tmp_path / "nowhere"))
    mad = classifier(tmp_path / "mad", scale=float("nan"))
    pack_into(tmp_path / "bare", Listed([("0.jpg", "train", None, jpeg(0)), ("1.jpg", "train", None, jpeg(1))]))
    says("has no labels; evaluate needs a class per sample", shards=str(tmp_path / "bare"))
    assert not (tmp_path / "refused").exists()
    says("gives scores that are no numbers for 5[0-9] of 60 images", checkpoint=str(mad))


def test_strangers_can_be_left_out(recipe: Config, tmp_path: Path) -> None:
    others = classifier(tmp_path / "others", classes=("class2", "cat", "class0"))
    changed = replace(recipe, checkpoint=str(others), strangers="leave_out", out=str(tmp_path / "out"))
    execute("evaluate", changed)
    scores, labels = plain(recipe, str(others))
    kept = labels != 1
    right = scores[kept][:, [2, 0]].argmax(1) == labels[kept] // 2
    found = scores_of(changed.out)
    assert found["accuracy"] == pytest.approx(float(right.double().mean()))
    assert set(found["per_class"]) == {"class0", "class2"}


def test_the_same_checkpoint_twice_is_no_second_seed() -> None:
    with pytest.raises(ValueError, match="none twice"):
        Config(checkpoint=("a", "a"))
    with pytest.raises(ValueError, match="at least one"):
        Config(checkpoint=())


def test_reals_labels_allow_several_classes_and_leave_out_images_with_none(recipe: Config, tmp_path: Path) -> None:
    rows = [(f"ILSVRC2012_val_{n + 1:08d}.JPEG", "train", f"class{n % 3}", jpeg(n)) for n in range(30)]
    pack_into(tmp_path / "val", Listed(rows), samples_per_shard=8, probe="header")
    draw = np.random.default_rng(0)
    labels = [sorted(draw.choice(7, draw.integers(0, 4), replace=False).tolist()) for _ in range(30)]
    (tmp_path / "real.json").write_text(json.dumps(labels))
    config = replace(recipe, shards=str(tmp_path / "val"), among="all", real=str(tmp_path / "real.json"))
    made = execute("evaluate", replace(config, out=str(tmp_path / "out")))
    chosen = plain(config, str(config.checkpoint))[0].argmax(1).tolist()
    asked = [number for number, right in enumerate(labels) if right]
    assert 0 < len(asked) < 30
    hits = sum(chosen[number] in labels[number] for number in asked)
    assert 0 < hits < len(asked)
    assert made.figures["accuracy_real"] == pytest.approx(hits / len(asked), abs=1e-6)
    assert scores_of(str(tmp_path / "out"))["samples_real"] == len(asked)
    few = classifier(tmp_path / "few", classes=CLASSES[:3])
    for change, sentence in (
        ({"checkpoint": str(few)}, "speaks of class 6, and the checkpoint has 3"),
        ({"shards": recipe.shards}, "has no labels for sample 000000000-0"),
        ({"real": str(tmp_path / "none.json")}, "is no list of classes an image"),
    ):
        with pytest.raises(ArtifactError, match=sentence):
            execute("evaluate", replace(config, out=str(tmp_path / "refused"), **change))
    (tmp_path / "real.json").write_text(json.dumps(labels[::-1]))
    with pytest.raises(RunError, match="has changed since"):
        execute("evaluate", replace(config, out=str(tmp_path / "out")))
