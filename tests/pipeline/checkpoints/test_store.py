"""A checkpoint is whole or not there, damage is found, and the newest good one is taken."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.checkpoints.state import set_training_state, training_state
from pipeline.checkpoints.store import FOLDER, Saved, latest, read_tensors, restore, save
from pipeline.checkpoints.tensors import root_hash
from pipeline.errors import ArtifactError


def trained(steps: int = 3, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.randn(16, 4)).square().mean().backward()
        optimizer.step()
    return network, optimizer


def saved(run: Path, step: int, keep: int = 9) -> Saved:
    return save(run, training_state(*trained(step)), step=step, consumed=step * 16, keep=keep)


def test_what_is_restored_is_what_was_saved_to_the_bit(tmp_path: Path) -> None:
    network, optimizer = trained()
    save(tmp_path, training_state(network, optimizer), step=3, consumed=48, keep=2)
    found, passed_over = latest(tmp_path)
    assert found is not None
    assert (found.step, found.consumed, passed_over) == (3, 48, [])
    other, other_optimizer = trained(steps=0, seed=1)
    state = training_state(other, other_optimizer)
    restore(found, state)
    set_training_state(other, other_optimizer, state)
    assert root_hash(other.state_dict()) == root_hash(network.state_dict())
    x = torch.randn(16, 4)
    for net, opt in ((network, optimizer), (other, other_optimizer)):
        opt.zero_grad()
        net(x).square().mean().backward()
        opt.step()
    assert root_hash(other.state_dict()) == root_hash(network.state_dict()), "momentum was restored too"


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        saved(tmp_path, step, keep=2)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["latest", "step-000000002", "step-000000003"]


def test_a_save_that_was_killed_leaves_nothing_that_counts(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    temporary = tmp_path / FOLDER / ".step-000000002.tmp"
    temporary.mkdir()
    (temporary / "__0_0.distcp").write_bytes(b"half")
    found, _ = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert saved(tmp_path, 2).path.is_dir(), "the same save again is not in its own way"


@pytest.mark.parametrize("seed", range(20))
def test_any_flipped_bit_cut_or_lost_file_is_found_and_the_one_before_is_taken(tmp_path: Path, seed: int) -> None:
    saved(tmp_path, 1)
    newest = saved(tmp_path, 2)
    draw = random.Random(seed)
    victim = draw.choice(sorted(newest.path.iterdir()))
    content = bytearray(victim.read_bytes())
    kind = draw.choice(["flip", "cut", "lose"])
    if kind == "flip":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        victim.write_bytes(content)
    elif kind == "cut":
        victim.write_bytes(content[: draw.randrange(len(content))])
    else:
        victim.unlink()
    found, passed_over = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "step-000000002 is damaged" in passed_over[0]


def test_tensors_are_read_by_prefix_without_building_a_network(tmp_path: Path) -> None:
    network, optimizer = trained()
    checkpoint = save(tmp_path, training_state(network, optimizer), step=3, consumed=48, keep=2)
    assert set(read_tensors(checkpoint.path, "0.")) == {"weight", "bias"}
    assert root_hash(read_tensors(checkpoint.path, "")) == root_hash(network.state_dict())
    with pytest.raises(ArtifactError, match="holds no tensor named"):
        read_tensors(checkpoint.path, "backbone.")


def test_the_root_hash_sees_names_shapes_types_and_values() -> None:
    base = {"a": torch.arange(6.0)}
    others = [{"b": base["a"]}, {"a": base["a"].view(2, 3)}, {"a": base["a"].double()}, {"a": base["a"] + 1}]
    assert len({root_hash(tensors) for tensors in [base, *others]}) == 5
    assert root_hash({"a": torch.arange(6.0).view(2, 3).t()}) == root_hash(
        {"a": torch.arange(6.0).view(2, 3).t().clone()}
    )
