"""Measurements of a step: the batch that fits does, and the next one does not."""

from __future__ import annotations

import pytest

from pipeline.adaptation.measure import SAFE, Steps
from pipeline.models import RegNet
from pipeline.objectives import Classification
from pipeline.training.optimizers import SGD

SMALL = RegNet.Config(size="custom", widths=(8, 16), depths=(1, 2), group_width=4, strides=(2, 2), stem_width=8)
STEPS = Steps(model=SMALL, objective=Classification.Config(), classes=3, optimizer=SGD.Config(larc=None))


@pytest.mark.parametrize("memory", [2 << 20, 7 << 20, 40 << 20])
def test_the_batch_that_fits_is_the_largest_power_of_two(memory: int) -> None:
    batch = STEPS.batch_that_fits(32, memory, 1 << 20)
    assert STEPS._peak(32, batch) <= SAFE * memory
    assert STEPS._peak(32, 2 * batch) > SAFE * memory


def test_no_more_is_given_than_asked_for_and_nothing_where_nothing_fits() -> None:
    assert STEPS.batch_that_fits(32, 40 << 20, 4) == 4
    assert STEPS.batch_that_fits(32, 1 << 16, 4) == 0


def test_a_step_is_timed_with_the_network_of_the_recipe() -> None:
    assert STEPS.images_per_second(32, 2) > 0
