"""Taps against the maps themselves: names, widths, pools, and one forward pass for all."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pipeline.models import RegNet
from pipeline.models.taps import Tap, gather, taps
from tests.pipeline.networks import small_backbone

NAMES = ("average", "res2 pool 2x1", "res3 pool 1x2", "res3 max", "gem", "res2 average")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_every_tap_is_its_pool_of_its_stage(images: torch.Tensor) -> None:
    backbone = small_backbone().eval()
    first = backbone.stages()[0](backbone.stem(images))
    last = backbone.stages()[1](first)
    halves = first.unflatten(2, (2, -1)).mean((3, 4)).flatten(1)
    sides = last.unflatten(3, (2, -1)).mean((2, 4)).flatten(1)
    expected = {
        "average": last.mean((2, 3)),
        "res2 pool 2x1": halves,
        "res3 pool 1x2": sides,
        "res3 max": F.max_pool2d(last, last.shape[2:]).flatten(1),
        "gem": F.lp_pool2d(last.clamp_min(1e-6), 3, last.shape[2]).flatten(1) / (last.shape[2] ** 2) ** (1 / 3),
        "res2 average": first.mean((2, 3)),
    }
    found = gather(backbone, images, taps(NAMES))
    assert list(found) == list(NAMES)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}")
        assert found[name].shape[1] == Tap.of(name).width([8, 16])


@torch.no_grad()
def test_the_average_is_the_backbones_own_output_to_the_bit(images: torch.Tensor) -> None:
    backbone = small_backbone().eval()
    assert torch.equal(gather(backbone, images, taps(["average"]))["average"], backbone(images))
    with torch.autocast("cpu", torch.bfloat16):
        found = gather(backbone, images, taps(["average", "res2 pool 2x2"]))
        assert torch.equal(found["average"], backbone(images))
    assert {vectors.dtype for vectors in found.values()} == {torch.float32}


@torch.no_grad()
def test_the_network_runs_once_and_is_left_as_it_was(images: torch.Tensor) -> None:
    backbone, runs = small_backbone().eval(), []
    backbone.stages()[0].register_forward_hook(lambda *_: runs.append(1))
    gather(backbone, images, taps(NAMES))
    assert len(runs) == 1
    backbone(images)
    assert [len(stage._forward_hooks) for stage in backbone.stages()] == [1, 0]


SEER = [
    ("seer_rg32", "res4 pool 7x1", 9744),
    ("seer_rg32", "res5 pool 3x1", 11136),
    ("seer_rg32", "average", 3712),
    ("seer_rg64", "res4 pool 5x1", 9840),
    ("seer_rg64", "res5 pool 2x1", 9840),
    ("seer_rg64", "average", 4920),
    ("seer_rg128", "res4 pool 3x1", 8712),
    ("seer_rg128", "res5 pool 2x1", 14784),
    ("seer_rg128", "average", 7392),
    ("seer_rg256", "res4 pool 2x1", 8206),
    ("seer_rg256", "res5 pool 1x2", 20888),
    ("seer_rg256", "average", 10444),
    ("seer_10b", "res4 pool 2x1", 22220),
    ("seer_10b", "res4 pool 1x2", 22220),
    ("seer_10b", "res5 pool 2x1", 56560),
    ("seer_10b", "average", 28280),
]
"""The taps of SEER's linear probes and the widths that its configs give for them."""


@pytest.mark.parametrize(("size", "name", "width"), SEER)
def test_widths_are_those_of_seers_configs(size: str, name: str, width: int) -> None:
    assert Tap.of(name).width(RegNet.Config(size=size).stages().widths) == width


@pytest.mark.parametrize(
    "name", ["", "mean", "res4", "res1 average", "res4 pool", "res4 pool 2", "pool 0x1", "res4pool 2x1"]
)
def test_what_is_no_tap_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no tap; write a pool"):
        Tap.of(name)


def test_a_stage_that_is_not_there_is_named(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="'res4 max': the network has the stages res2 to res3"):
        gather(small_backbone(), images, taps(["res4 max"]))


@pytest.mark.parametrize(("names", "says"), [([], "no tap is named"), (["gem", "gem"], "named twice: gem")])
def test_a_list_that_means_nothing_is_refused(names: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        taps(names)
