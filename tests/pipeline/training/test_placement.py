"""The automatic choice of groups against all there are."""

from __future__ import annotations

import itertools

import pytest
import torch

from pipeline.models import RegNet
from pipeline.training.placement import auto_groups, best_groups, block_costs
from tests.pipeline.networks import small_backbone


def peak(inputs: list[int], kept: list[int], cuts: list[int]) -> int:
    """The most that is held in the backward pass, acted out: inputs pile up, then groups come back from the last on."""
    bounds = list(zip([0, *cuts], cuts, strict=False))
    most, piled = 0, sum(inputs[first] for first, _ in bounds)
    for first, last in reversed(bounds):
        most = max(most, piled + sum(kept[first:last]))
        piled -= inputs[first]
    return most


@pytest.mark.parametrize("seed", range(8))
def test_no_other_cut_into_groups_has_a_smaller_peak(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    depths = [1, 4, 3, 1]
    inputs, kept = (torch.randint(1, most, (9,), generator=draw).tolist() for most in (20, 60))
    stages, starts = [1, 5, 8, 9], [0, 1, 5, 8]
    free = [cut for cut in range(1, 9) if cut not in stages]
    every = [sorted({*stages, *more}) for n in range(len(free) + 1) for more in itertools.combinations(free, n)]
    found = best_groups(inputs, kept, depths)
    assert [ends[-1] for ends in found] == depths
    cuts = [start + end for start, ends in zip(starts, found, strict=True) for end in ends]
    assert peak(inputs, kept, cuts) == min(peak(inputs, kept, others) for others in every)


def test_costs_are_those_of_a_forward_pass() -> None:
    """A plain block, by hand: maps of 8 channels at 112 pixels in, 56 out after its first convolution."""
    inputs, kept = block_costs(small_backbone(squeeze=0.0))
    assert inputs == [8 * 112 * 112, 8 * 56 * 56, 16 * 28 * 28]
    big, small = 8 * 112 * 112, 8 * 56 * 56
    # f.a at full resolution with BatchNorm and ReLU; f.b, f.c and the shortcut after the stride; the sum.
    assert kept[0] == 2 * big + 2 * small + 1 * small + 1 * small + 1 * small


def test_where_all_blocks_are_alike_groups_shrink_by_one_each_for_the_inputs_piled_up_before_them() -> None:
    (ends,) = best_groups([1] * 16, [1] * 16, [16])
    sizes = [b - a for a, b in zip([0, *ends], ends, strict=False)]
    assert sizes == [6, 5, 4, 1]
    assert peak([1] * 16, [1] * 16, ends) == 7


def test_the_largest_seer_model_gets_groups_in_all_stages_but_the_last() -> None:
    with torch.device("meta"):
        backbone = RegNet.Config(size="seer_10b").build()
    ends = auto_groups(backbone)
    assert [len(list(stage.children())) for stage in backbone.stages()] == [2, 7, 17, 1]
    assert ends[0][-1:] == [2]
    assert ends[1][-1:] == [7]
    assert ends[3] == []
    assert backbone.training
