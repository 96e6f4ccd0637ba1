"""What training leaves of its checkpoints: the facts inside, what they cost, and the ones that were to stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.artifacts import Artifact, checkpoint_content
from pipeline.checkpoints.manifest import Saved, directories
from pipeline.checkpoints.store import FOLDER, content, read_tensors, verify
from pipeline.checkpoints.tensors import root_hash
from pipeline.training.settings import TrainerConfig
from tests.commands import Done


def records(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_trained_run_has_whole_checkpoints_that_say_where_they_come_from(chain: tuple[Path, Done]) -> None:
    run = chain[0] / "pretrain"
    found = [Saved.load(path) for path in directories(run / FOLDER)]
    assert [saved.step for saved in found] == [12, 10]
    for saved in found:
        assert verify(saved.path, deep=True) == []
        assert saved.consumed == saved.step * 32 == saved.stream["consumed"]
        assert saved.config == (run / "config.yaml").read_text()
        assert saved.code["pipeline"]
        assert saved.figures["loss"] == [r["loss"] for r in records(run) if "loss" in r][saved.step - 1]
    assert content(found[0].path) == root_hash(read_tensors(found[0].path, ""))
    made = Artifact.load(run)
    assert made.content == checkpoint_content(content(found[0].path), made.facts)


@pytest.mark.slow
def test_what_each_checkpoint_cost_is_recorded_once(chain: tuple[Path, Done]) -> None:
    costs = [record for record in records(chain[0] / "pretrain") if "checkpoint_stall" in record]
    assert [record["step"] for record in costs] == [2, 4, 6, 8, 10, 12]
    assert all(0 <= record["checkpoint_stall"] <= record["checkpoint_seconds"] for record in costs)


@pytest.mark.parametrize("setting", [{"keep": 0}, {"keep_every": -1}, {"keep_best": -1}])
def test_a_retention_that_keeps_nothing_is_a_mistake_in_the_recipe(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="keep must be at least 1, keep_every and keep_best at least 0"):
        TrainerConfig(**setting)  # type: ignore[arg-type]
