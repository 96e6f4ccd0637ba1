"""What the recipe of pretrain says about its shards: one set, several with weights, sets that grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.stages.pretrain import Config, inputs, loader_for
from tests.data_shards.pictures import listed, pack_into

MIXED = "shards: [{path: A, weight: 3}, {path: B}]\ntrainer: {batch: 8}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name, count in (("A", 20), ("B", 10)):
        pack_into(tmp_path / name, listed(count), samples_per_shard=6)
    text = MIXED.replace("A", str(tmp_path / "A")).replace("B", str(tmp_path / "B"))
    (tmp_path / "recipe.yaml").write_text(text)
    return tmp_path / "recipe.yaml"


def test_a_recipe_mixes_sets_by_weight(recipe: Path) -> None:
    settings = config.load(Config, str(recipe), [])
    with loader_for(settings) as loader:
        drawn = np.concatenate([next(iter(loader)).indices for _ in range(4)])
    assert (drawn < 20).sum() == 24
    names = {name: wanted.path.rpartition("/")[2] for name, wanted in inputs(settings).items()}
    assert names == {"shards 1, weight 3": "A", "shards 2, weight 1": "B"}, "another weight makes another run"


def test_crops_are_the_same_bytes_with_any_number_of_threads(recipe: Path) -> None:
    drawn = []
    for threads in (1, 2, 5):
        with loader_for(config.load(Config, str(recipe), [f"trainer.threads={threads}"])) as loader:
            stream = iter(loader)
            drawn.append([[array.tobytes() for array in next(stream).arrays] for _ in range(4)])
    assert drawn[0] == drawn[1] == drawn[2]
    assert len({crops for batch in drawn[0] for crops in batch}) == 8, "two sizes of four batches, all different"


def test_one_set_is_named_by_its_path(recipe: Path) -> None:
    settings = config.load(Config, str(recipe), ["shards=runs/shard"])
    assert {name: wanted.path for name, wanted in inputs(settings).items()} == {"shards": "runs/shard"}
    assert settings.parts[0].weight == 1


def test_sets_may_grow_where_the_length_is_given_in_steps(recipe: Path) -> None:
    settings = config.load(Config, str(recipe), ["grows=true", "trainer.duration=5k steps"])
    assert all(wanted.may_change for wanted in inputs(settings).values())
    assert not any(wanted.may_change for wanted in inputs(config.load(Config, str(recipe), [])).values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shards=[]"], "shards is empty"),
        (["shards=[{path: x, weight: 0}]"], "weight is 0.0; leave the set out instead"),
        (["grows=true"], "give trainer.duration in steps, such as 100k steps"),
        (["trainer.stall_seconds=0"], "stall_seconds must be above 0"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str, recipe: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(Config, str(recipe), words)
