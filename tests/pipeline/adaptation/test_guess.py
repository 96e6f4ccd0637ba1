"""Guesses: what is chosen for which pictures, network and machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.adaptation.guess import LEAST, MOST, guess
from pipeline.adaptation.known import Known
from pipeline.errors import TrainingError
from pipeline.models.regnet import RegNet
from pipeline.views import Evaluation

KNOWN = Known(
    train=2_000,
    classes=10,
    side=500,
    model=RegNet.Config(),
    view=Evaluation.Config(size=384, resize=384),
    memory=24 << 30,
    devices=1,
    cores=8,
    on_gpu=True,
)


def fits(side: int, most: int) -> int:
    """A device that holds 32 pictures of 384 px."""
    return min(most, 32 * 384**2 // side**2)


def fast(side: int, batch: int) -> float:
    return 1e6 / side


def test_a_fast_machine_gets_what_the_checkpoint_was_shown() -> None:
    made = guess(KNOWN, 30, fits, fast)
    assert (made.side, made.resize, made.batch, made.epochs, made.frozen) == (384, 384, 32, 50, False)
    assert "GiB" in made.why["batch"]


def test_small_pictures_are_not_blown_up_to_the_size_of_the_checkpoint() -> None:
    made = guess(replace(KNOWN, side=32), 30, fits, fast)
    assert made.side == 64
    assert "32 px" in made.why["side"]


def test_the_border_that_a_checkpoint_cuts_off_keeps_its_share() -> None:
    made = guess(replace(KNOWN, view=Evaluation.Config(size=224, resize=256), side=100), 30, fits, fast)
    assert (made.side, made.resize) == (224, 256)
    made = guess(replace(KNOWN, view=Evaluation.Config(size=224, resize=256), side=56), 30, fits, fast)
    assert (made.side, made.resize) == (128, 146)


def test_a_few_pictures_make_small_batches() -> None:
    made = guess(replace(KNOWN, train=200), 1e6, fits, fast)
    assert made.batch == 8
    assert made.epochs == MOST


def test_a_slow_machine_gets_smaller_pictures_then_fewer_epochs_then_only_the_classifier() -> None:
    rate = 2_000 * 50 / 60  # pictures per second that end 50 epochs of 384 px in a minute
    small = guess(KNOWN, 1 / 2, fits, lambda side, batch: rate)
    assert small.side == 224
    assert small.epochs == 50
    assert small.minutes(KNOWN.train) <= 1 / 2
    short = guess(KNOWN, 1 / 20, fits, lambda side, batch: rate)
    assert short.side == 128
    assert LEAST <= short.epochs < 50
    assert not short.frozen
    assert short.minutes(KNOWN.train) <= 1 / 20
    least = guess(KNOWN, 1 / 1000, fits, lambda side, batch: rate)
    assert (least.side, least.epochs, least.frozen) == (128, LEAST, True)
    assert "frozen" in least.why


def test_several_devices_share_a_batch_that_is_as_many_times_as_large() -> None:
    one, four = (guess(replace(KNOWN, devices=devices, train=20_000), 600, fits, fast) for devices in (1, 4))
    assert four.batch == 4 * one.batch
    assert four.rate == 4 * one.rate


def test_a_device_without_room_for_a_picture_is_a_clear_error() -> None:
    with pytest.raises(TrainingError, match=r"too little for one picture of 384 px"):
        guess(KNOWN, 30, lambda side, most: 0, fast)
