"""Every recipe in configs/ loads, and says in its header what it is for and how it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import config
from pipeline.stages import chain
from pipeline.stages.stage import module

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
RECIPES = sorted(path for path in CONFIGS.rglob("*.yaml"))


def stage_of(recipe: Path) -> str:
    """The stage that a recipe's first line names for editors."""
    line = recipe.read_text(encoding="utf-8").splitlines()[0]
    assert line.startswith("# yaml-language-server: $schema=../"), recipe
    schema = (recipe.parent / line.partition("=")[2]).resolve()
    assert schema.parent == CONFIGS / "schema", schema
    return schema.stem


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(recipe.relative_to(CONFIGS)))
def test_recipe_loads(recipe: Path) -> None:
    stage = stage_of(recipe)
    if stage == "chain":
        settings, links = chain.load(str(recipe), [])
        assert len(links) == len(settings.stages)
    else:
        config.load(module(stage).Config, recipe)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: str(recipe.relative_to(CONFIGS)))
def test_recipe_says_how_it_is_run(recipe: Path) -> None:
    header = [line for line in recipe.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any("Command:" in line for line in header), "the header gives the command"
    if stage_of(recipe) == "pretrain":
        assert any("Hardware:" in line for line in header), "the header gives the hardware"
        assert any("Obtained:" in line for line in header), "the header gives the number obtained, or says: not run"
