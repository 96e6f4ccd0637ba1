"""The sides of the step's benchmark train, and the parts of a step are all of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from pipeline.models.regnet import RegNet
from tests.benchmarks import step
from tests.benchmarks.rounds import Side
from tests.benchmarks.sides.parts import NAMES


@pytest.mark.slow
def test_a_step_goes_through_the_stage_and_its_parts_are_the_whole(tmp_path: Path) -> None:
    with Side("our_step", os.sched_getaffinity(0)) as side:
        settings = {"crops": [[32, 2], [16, 2]], "size": "regnety_200mf", "prototypes": 20}
        side.run("start", batch=4, **settings)
        assert side.run("steps", count=2)["value"] == 8
        began = time.perf_counter()
        (parts,) = side.run("parts", count=1)["value"]
        assert tuple(parts) == NAMES
        assert min(parts.values()) >= 0
        assert sum(parts.values()) <= time.perf_counter() - began
        assert "convolution" in side.run("operators", rows=40)["value"]
        feature = side.run("save", path=str(tmp_path / "shared.pt"))["value"]
    saved = torch.load(tmp_path / "shared.pt")
    assert [tuple(crops.shape) for crops in saved["crops"]] == [(2, 4, 3, 32, 32), (2, 4, 3, 16, 16)]
    backbone = RegNet.Config(size="regnety_200mf").build()
    backbone.load_state_dict(saved["backbone"])
    with torch.no_grad():
        found = backbone.eval()(backbone.prepare(saved["crops"][0])).abs().mean()
    assert float(found) == pytest.approx(feature, rel=1e-4)


def test_a_profile_gives_shares_of_the_median_step() -> None:
    table = step.profile_of([{"a": 0.25, "b": 0.75}, {"a": 0.25, "b": 0.75}, {"a": 0.5, "b": 0.5}])
    assert "| a | 250.0 | 25.0% |" in table
    assert "| b | 750.0 | 75.0% |" in table
