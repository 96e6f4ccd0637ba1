"""The practitioner's command, as she types it: a checkpoint and a folder of pictures into a classifier."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.artifacts import Artifact
from pipeline.errors import ArtifactError
from pipeline.released.predictor import Predictor
from tests.commands import Done, run

SPLITS = {"train": 12, "val": 5}


def folder_of_pictures(root: Path) -> Path:
    """Red, green and blue pictures in ImageNet's layout, and a web page that ends in .jpg."""
    for split, count in SPLITS.items():
        for number, colour in enumerate(("red", "green", "blue")):
            (root / split / colour).mkdir(parents=True)
            for picture in range(count):
                noise = np.random.default_rng([number, picture, len(split)]).integers(0, 90, (40, 50, 3), np.uint8)
                noise[..., number] += 160
                Image.fromarray(noise).save(root / split / colour / f"{picture}.jpg")
    (root / "val" / "violet").mkdir()  # holds no picture, so it is no class
    (root / "train" / "red" / "page.jpg").write_text("<html>not found</html>")
    return root


@pytest.fixture(scope="module")
def adapted(chain: tuple[Path, Done], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Done]:
    """(the pictures, the directory of the runs, what the command said)."""
    pictures = folder_of_pictures(tmp_path_factory.mktemp("pictures"))
    out = tmp_path_factory.mktemp("adapted") / "runs"
    return pictures, out, adapt(chain[0] / "pretrain", pictures, out)


def adapt(weights: Path, pictures: Path, out: Path, *more: str) -> Done:
    settings = ("finetune.trainer.wandb=off", "export.layouts=[torchvision]", *more)
    return run("adapt", f"weights={weights}", f"data={pictures}", f"out={out}", "minutes=1", *settings)


def test_it_ends_with_accuracy_model_and_two_lines_that_use_it(adapted: tuple[Path, Path, Done]) -> None:
    pictures, out, done = adapted
    assert done.status == 0, done.errors
    assert "accuracy" in done.output
    assert "15 pictures that it has not seen" in done.output
    scores = json.loads((out / "finetune" / "scores.json").read_text())
    assert scores["accuracy"] > 0.9, "colours are easy"
    lines = [line.strip() for line in done.output.splitlines() if "redictor" in line]
    assert len(lines) == 2
    said: list[tuple[str, float]] = []
    picture = pictures / "val" / "blue" / "0.jpg"
    exec(
        "\n".join([lines[0], lines[1].replace("print", "said.extend").replace("picture.jpg", str(picture))]),
        {"said": said},
    )
    assert said[0][0] == "blue"
    assert sum(share for _, share in said) == pytest.approx(1, abs=1e-4)


def test_the_broken_picture_is_put_aside_and_counted(adapted: tuple[Path, Path, Done]) -> None:
    shards = Artifact.load(adapted[1] / "shard")
    assert shards.figures["quarantined"] == 1
    assert shards.facts["splits"] == {"test": 15, "train": 36}


def test_what_was_guessed_is_written_with_its_reasons_and_a_change_of_it_counts(
    adapted: tuple[Path, Path, Done], chain: tuple[Path, Done]
) -> None:
    pictures, out, _ = adapted
    recipe = out / "recipes" / "finetune.yaml"
    text = recipe.read_text()
    assert "size: 32  # what the checkpoint was shown" in text
    again = adapt(chain[0] / "pretrain", pictures, out)
    assert again.status == 0, again.errors
    assert "up to date" in again.output
    assert recipe.read_text() == text
    recipe.write_text(text.replace("label_smoothing: 0.1", "label_smoothing: 0.2"))
    try:
        changed = adapt(chain[0] / "pretrain", pictures, out)
    finally:
        recipe.write_text(text)
    assert changed.status == 2
    assert "Traceback" not in changed.errors
    assert "holds another run" in changed.errors or "out=" in changed.errors


def test_the_predictor_refuses_what_is_no_picture_and_no_classifier(
    adapted: tuple[Path, Path, Done], chain: tuple[Path, Done], tmp_path: Path
) -> None:
    model = adapted[1] / "export" / "model.safetensors"
    with pytest.raises(ArtifactError, match="cannot be read"):
        Predictor(model)(b"<html>")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Predictor(model)(tmp_path / "none.jpg")
    with pytest.raises(ArtifactError, match="is no safetensors file"):
        Predictor(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: Image.new("RGB", (9, 9)).save(root / "val" / "violet" / "1.png"), "violet"),
        (lambda root: [path.unlink() for path in (root / "train" / "blue").iterdir()], "blue"),
    ],
    ids=["a class of val that train has not", "a class of train without a picture"],
)
def test_classes_that_do_not_agree_are_said_before_weights_are_fetched(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: Callable[[Path], object], says: str
) -> None:
    pictures = folder_of_pictures(tmp_path / "pictures")
    change(pictures)
    assert says in refused(capsys, "weights=timm/regnety_002", f"data={pictures}", f"out={tmp_path / 'out'}")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["recipes", "shard"]


def test_one_class_is_none_to_tell_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pictures" / "only").mkdir(parents=True)
    for number in range(8):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / "pictures" / "only" / f"{number}.png")
    says = refused(capsys, "weights=seer_rg32", f"data={tmp_path / 'pictures'}", f"out={tmp_path / 'out'}")
    assert "has one class" in says


def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "weights" in refused(capsys, f"data={tmp_path}")
    assert "none" in refused(capsys, "weights=seer_rg32", f"data={tmp_path / 'none'}", f"out={tmp_path / 'out'}")


def refused(capsys: pytest.CaptureFixture[str], *settings: str) -> str:
    """The sentence with which the command refuses."""
    assert main(("adapt", *settings)) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    return errors
