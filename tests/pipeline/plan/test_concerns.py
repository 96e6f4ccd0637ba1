"""What is wrong is said, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from pipeline.plan.assembled import Training
from pipeline.plan.concerns import concerns
from pipeline.plan.peak import Peak
from pipeline.plan.planned import Plan, plan
from pipeline.training.schedules import WarmupCosine
from tests.pipeline.plan.trainings import training


def about(asked: Training, memory: float | None = None, made: Plan | None = None) -> list[str]:
    return concerns(made or plan(asked, with_peak=False), asked, memory)


def test_a_sound_plan_gives_no_concern() -> None:
    assert about(training(2), memory=1) == []


def test_a_step_that_does_not_fit() -> None:
    made = replace(plan(training(), with_peak=False), peak=Peak(kept=2**30, total=3 * 2**30))
    (sentence,) = about(training(), 2.5, made)
    assert sentence.startswith("a step takes 3.0 GiB, which a device of 2.5 GiB has not")
    assert about(training(), 3, made) == []


def test_a_state_that_does_not_fit() -> None:
    (sentence,) = about(training(), 1e-4)
    assert sentence.startswith("weights, gradients and optimizer alone take")


def test_rows_that_cannot_be_dealt_evenly() -> None:
    (sentence,) = about(training(512, batch=512 * 16))
    assert sentence.startswith("the first process holds ")
    assert "more than an equal share" in sentence


def test_a_warm_up_as_long_as_the_training() -> None:
    (sentence,) = about(replace(training(), schedule=WarmupCosine(warmup="100 steps")))
    assert sentence == "the warm-up of 100 steps is as long as the training, so the rate never becomes whole"


def test_batchnorm_over_few_images() -> None:
    for trainer in ({"sync_batchnorm": False}, {"sync_batchnorm": 1}, {"pieces": 2}):
        (sentence,) = about(training(2, **trainer))
        assert sentence.startswith("BatchNorm sees 8 images at a time; ")
    assert about(training(4, batch=16, sync_batchnorm=4)) == []


def test_doubts_of_the_recipe_are_among_them() -> None:
    assert about(replace(training(), doubts=("few prototypes",))) == ["few prototypes"]
