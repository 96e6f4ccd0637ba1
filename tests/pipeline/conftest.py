"""One small chain, run once, that many tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Done, run, write_recipes


@pytest.fixture(scope="session")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe for every stage and `chain.yaml`."""
    return write_recipes(tmp_path_factory.mktemp("recipes"))


@pytest.fixture(scope="session")
def chain(recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The directory of a chain that ran undisturbed, and what it printed."""
    out = tmp_path_factory.mktemp("chain") / "runs"
    done = run("chain", str(recipes / "chain.yaml"), f"out={out}")
    assert done.status == 0, done.errors
    return out, done
