"""`rehearse` runs the loader of a recipe and counts what went through it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline import config
from pipeline.__main__ import main
from pipeline.rehearsal.measure import rehearse
from pipeline.stages.pretrain import Config
from tests.commands import write_recipes
from tests.data_shards.pictures import Listed, broken_jpeg, jpeg, pack_into

COUNT = 60


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A recipe, and shards whose seventh image cannot be decoded; batches of 32."""
    images = [(str(n), "train", None, broken_jpeg(n) if n == 7 else jpeg(n, 40, 30)) for n in range(COUNT)]
    pack_into(tmp_path / "set", Listed(images), samples_per_shard=16, probe="header")
    recipe = write_recipes(tmp_path, ["pretrain"]) / "pretrain.yaml"
    return [str(recipe), f"shards={tmp_path / 'set'}", "max_bad=1"]


def test_it_counts_what_one_process_did(words: list[str]) -> None:
    settings = config.load(Config, words[0], [*words[1:], "trainer.devices=2", "trainer.nodes=2"])
    shown = rehearse(settings, seconds=60, batches=40)
    assert (shown.batches, shown.batch, shown.processes, shown.devices) == (40, 8, 4, 2)
    assert 40 * 8 <= shown.work.rows + 8 * 3 <= 40 * 8 + 8 * 8, "what was ahead at the start and at the end"
    assert shown.work.bytes > 500 * shown.work.rows
    assert set(shown.bad) == {"truncated"}
    assert 0 <= shown.waited <= shown.seconds
    assert min(shown.parts.read, shown.parts.decode) > 0
    assert shown.shuffle is not None
    assert 0 < shown.shuffle.score <= 1


def test_a_trainer_that_takes_few_images_does_not_wait(words: list[str]) -> None:
    shown = rehearse(config.load(Config, words[0], words[1:]), seconds=60, batches=8, rate=160)
    assert shown.seconds >= 8 * 32 / 160, "the pace is that of the trainer"


def test_it_ends_after_the_seconds_given(words: list[str]) -> None:
    shown = rehearse(config.load(Config, words[0], words[1:]), seconds=1e-6, batches=10**9)
    assert shown.batches == 1


def test_the_command_prints_lines_and_writes_a_file(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shown.json"
    assert main(["rehearse", *words, "batches=5", "rate=1e9", f"json={out}", "trainer.batch=16"]) == 0
    printed = capsys.readouterr().out
    assert "rehearsed     5 batches of 16 in " in printed
    for name in ("images/s", "data wait", "a sample", "memory", "bad samples", "shuffle", "limit", "next"):
        assert f"\n{name}" in printed
    assert json.loads(out.read_text())["batches"] == 5
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("seconds=-1", "seconds: '-1' is no number above 0; write seconds=20, for example"),
        ("rate=fast", "rate: 'fast' is no number above 0"),
        ("--batches=3", "--batches=3: is no option; settings are given as key=value"),
        ("shards=nowhere", "nowhere"),
        ("trainer.batch=9 trainer.devices=2", "cannot be shared by 2 processes"),
    ],
)
def test_mistakes_are_sentences(given: str, message: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rehearse", *words, *given.split()]) == 2
    assert message in capsys.readouterr().err


def test_help_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert re.search("rehearse +the loader of a pretrain recipe alone", capsys.readouterr().out)
    assert main(["rehearse", "--help"]) == 0
    assert "rate     (float)" in capsys.readouterr().out
    assert main(["rehears"]) == 2
    assert "did you mean rehearse?" in capsys.readouterr().err
