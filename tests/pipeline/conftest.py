"""One small chain, run once, that many tests look at; and one thread for what is compared to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """This process computes as those of `on_processes` do, to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
