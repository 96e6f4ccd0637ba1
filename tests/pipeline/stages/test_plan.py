"""`python -m pipeline plan` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.__main__ import main
from tests.commands import write_recipes
from tests.data_shards.pictures import Listed, jpeg, pack_into

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    return write_recipes(tmp_path)


def test_without_shards_it_plans_and_says_what_is_missing(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipes / "pretrain.yaml"), f"shards={recipes / 'nowhere'}"]) == 0
    lines = {line[:14].strip(): line[14:] for line in capsys.readouterr().out.splitlines()}
    assert lines["length"] == "12 steps, 384 images"
    assert lines["batch"] == "32 images, 32 a process; 2×24 + 2×16 pixels"
    assert lines["data"].startswith("no shards to look at: ")
    assert "of disk" in lines["checkpoint"]
    assert lines["concern"] == "none that could be seen from here"
    assert not (recipes / "runs").exists()


def test_with_shards_it_reads_how_many_samples_there_are(recipes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [(str(n), "train", None, jpeg(n, 40, 30)) for n in range(64)]
    pack_into(recipes / "set", Listed(images), samples_per_shard=16, probe="header")
    words = [
        str(recipes / "pretrain.yaml"),
        f"shards={recipes / 'set'}",
        "trainer.duration=3 epochs",
        "--state",
        "--json",
    ]
    assert main(["plan", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"] == "64 samples; shards: 4; lanes: 1"
    assert found["length"] == found["length"] | {"steps": 6, "samples": 192, "epochs": 3.0}
    assert found["peak"] is None


def test_another_world_and_the_size_of_a_set_that_is_not_here(
    recipes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(recipes / "pretrain.yaml"), "trainer.duration=2 epochs", f"shards={recipes / 'nowhere'}"]
    assert main(["plan", *words, "--world", "8", "--samples", "320", "--state", "--json", "--memory", "1e-6"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["processes"], found["share"], found["length"]["steps"]) == (8, 4, 20)
    assert found["concerns"][0].startswith("weights, gradients and optimizer alone take")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "plan: no recipe was given; name one of pretrain"),
        (["finetune.yaml"], "finetune.yaml: is a recipe of finetune; plan takes one of pretrain"),
        (["shard.yaml"], "shard.yaml: is a recipe of shard; plan takes one of pretrain"),
        ([str(CONFIGS / "demo" / "probe.yaml")], "probe.yaml: is a recipe of probe; plan takes one of pretrain"),
        (["nowhere.yaml"], "nowhere.yaml: no such recipe"),
        (["pretrain.yaml", "trainer.bacth=3"], "trainer.bacth: no such key; did you mean batch?"),
        (["pretrain.yaml", "--world", "5"], "world 5: a batch of 32 cannot be shared by so many processes"),
        (
            ["pretrain.yaml", "trainer.devices=8", "--world", "12"],
            "world 12: is no whole number of nodes of 8 processes; 16 is, or set trainer.devices",
        ),
        (["pretrain.yaml", "--world", "0"], "--world: 0 is not above 0"),
        (["pretrain.yaml", "--memory", "much"], "plan: argument --memory: invalid float value: 'much'"),
        (["pretrain.yaml", "--wrold", "3"], "plan: unrecognized arguments: --wrold"),
    ],
)
def test_mistakes_are_sentences(
    words: list[str], message: str, recipes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(recipes)
    assert main(["plan", *words]) == 2
    assert message in capsys.readouterr().err


def test_help_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "plan what a pretrain recipe will need" in " ".join(capsys.readouterr().out.split())
