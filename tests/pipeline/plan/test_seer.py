"""Each of SEER's recipes at its published number of processes: built on meta, sharded, and as large as published."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.stages import plan

FOLDER = Path(__file__).parents[3] / "configs" / "pretrain" / "seer"


class Published(NamedTuple):
    """Parameters in millions, of the trunk without its classifier and of all that trains."""

    trunk: float
    whole: float
    processes: int
    steps: int
    rate: float
    warmup: int


PUBLISHED = {
    "rg32": Published(141.33, 178.48, 128, 244_140, 4.8, 8_000),
    "rg64": Published(276.46, 390.1, 512, 122_070, 9.6, 8_000),
    "rg128": Published(637.42, 771.3, 128, 244_140, 4.8, 8_000),
    "rg256": Published(1272.16, 1431.0, 512, 122_070, 9.6, 8_000),
    "rg10b": Published(9323.9, 9628.9, 496, 126_008, 9.3, 5_500),
}
"""Trunks by pycls' counter; heads and prototypes by their published widths; 10^9 images by the batch; .3 per 256."""


@cache
def answer(name: str) -> dict[str, Any]:
    """The figures of a recipe, without a step."""
    return plan.answer(plan.load(str(FOLDER / f"{name}.yaml"), []), plan.Question(with_peak=False))[1]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_recipe_is_as_published(name: str) -> None:
    published, found = PUBLISHED[name], answer(name)
    assert found["backbone"] == pytest.approx(published.trunk * 1e6, rel=1e-4)
    assert found["parameters"] == pytest.approx(published.whole * 1e6, rel=2e-4)
    assert found["processes"] == published.processes
    assert found["length"]["steps"] == published.steps
    assert found["length"]["rate"] == pytest.approx(published.rate)
    assert found["length"]["warmup"] == published.warmup
    assert 0.999e9 < found["length"]["samples"] <= 1e9
    assert found["whole"]["optimizer"] == found["whole"]["gradients"] == 4 * found["parameters"]
    share = found["whole"]["parameters"] / published.processes
    assert share <= found["process"]["parameters"] < 1.15 * share


@pytest.mark.slow
def test_a_step_of_rg32_fits_the_32_gib_it_was_trained_on() -> None:
    lines, found = plan.answer(plan.load(str(FOLDER / "rg32.yaml"), []), plan.Question(memory=32))
    assert 0 < found["peak"]["kept"] < found["peak"]["total"] < 32 * 2**30
    assert not any("GiB" in sentence for sentence in found["concerns"])
    assert "a step        keeps " in lines


def test_the_checkpoint_of_the_largest_is_as_large_as_vissls() -> None:
    """77 GB: 9.6 billion weights and their momentum, four bytes each."""
    assert answer("rg10b")["checkpoint"] == pytest.approx(77e9, rel=0.01)
