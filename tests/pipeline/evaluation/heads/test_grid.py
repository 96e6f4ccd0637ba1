"""Heads trained together against each trained alone, by torch's own modules, loss and SGD."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.evaluation.heads.grid import Grid, Head, together
from pipeline.models.batchnorm import convert
from pipeline.models.initialise import initialise
from tests.distributed import on_processes

WIDTHS = {"avgpool": 12, "s3 (2, 1)": 20}
CLASSES, BATCH, STEPS = 5, 24, 12
CONFIG = Grid.Config(rates=(0.03, 0.5, 4.0), weight_decay=1e-2, nesterov=True)


def factor(step: int) -> float:
    """A schedule: half the rate in the second half."""
    return 1.0 if step < STEPS // 2 else 0.5


def batches(unlabelled: bool = False) -> list[tuple[dict[str, Tensor], Tensor]]:
    """Batches of features by tap, with offsets and scales as backbones have them, and labels."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for _ in range(STEPS):
        features = {
            tap: 3 * torch.rand(BATCH, width, generator=draw, dtype=torch.float64) ** 2 + 1
            for tap, width in WIDTHS.items()
        }
        labels = torch.randint(0, CLASSES, (BATCH,), generator=draw)
        if unlabelled:
            labels[::5] = -1
        found.append((features, labels))
    return found


def trained(config: Grid.Config, given: list[tuple[dict[str, Tensor], Tensor]], rank: int = 0, world: int = 1) -> Grid:
    """A grid after the batches, or after this process's share of them."""
    grid = config.build(WIDTHS, CLASSES, 2 * 256).double()
    convert(grid)
    optimizer = torch.optim.SGD(grid.parameters(), 1.0, momentum=config.momentum, nesterov=config.nesterov)
    mine = slice(rank, None, world)
    for step, (features, labels) in enumerate(given):
        optimizer.zero_grad()
        said = grid({tap: values[mine] for tap, values in features.items()}, labels[mine])
        together(said.losses).backward()
        if world > 1:
            for parameter in grid.parameters():
                assert parameter.grad is not None
                torch.distributed.all_reduce(parameter.grad.div_(world))
        optimizer.param_groups[0]["lr"] = factor(step)
        optimizer.step()
    return grid.eval()


def alone(head: Head, config: Grid.Config, given: list[tuple[dict[str, Tensor], Tensor]]) -> nn.Sequential:
    """The same head by torch's own modules."""
    linear = nn.Linear(WIDTHS[head.tap], CLASSES)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    norm = nn.BatchNorm1d(WIDTHS[head.tap]) if head.batch_norm else nn.Identity()
    network = nn.Sequential(norm, linear).double()
    settings = {"momentum": config.momentum, "nesterov": config.nesterov}
    groups = [
        {"params": list(linear.parameters()), "weight_decay": config.weight_decay},
        {"params": list(norm.parameters())},
    ]
    optimizer = torch.optim.SGD([group for group in groups if group["params"]], 1.0, **settings)  # type: ignore[arg-type]
    for step, (features, labels) in enumerate(given):
        optimizer.zero_grad()
        F.cross_entropy(network(features[head.tap]), labels, ignore_index=-1).backward()
        for group in optimizer.param_groups:
            group["lr"] = 2 * head.rate * factor(step)
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize("unlabelled", [False, True], ids=["", "some without a label"])
def test_every_head_is_what_it_becomes_when_torch_trains_it_alone(unlabelled: bool) -> None:
    given = batches(unlabelled)
    grid = trained(CONFIG, given)
    assert grid.heads == [Head(*head) for head in itertools.product(WIDTHS, (False, True), CONFIG.rates)]
    features, labels = given[0]
    losses, right, _ = grid(features, labels)
    for place, head in enumerate(grid.heads):
        expected = alone(head, CONFIG, given)(features[head.tap])
        torch.testing.assert_close(grid(features, labels, place).scores, expected, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(losses[place], F.cross_entropy(expected, labels, ignore_index=-1))
        assert right[place] == (expected.argmax(1) == labels).sum()
    assert len({round(loss, 3) for loss in losses.tolist()}) == len(losses), "no two heads may learn alike here"


def test_in_fp32_a_head_among_others_is_the_head_alone() -> None:
    given = [({tap: values.float() for tap, values in features.items()}, labels) for features, labels in batches()]
    many, few = trained(CONFIG, given), trained(Grid.Config(rates=(0.5,), weight_decay=1e-2, nesterov=True), given)
    for place, head in enumerate(few.heads):
        expected = few(*given[0], place).scores
        torch.testing.assert_close(many(*given[0], many.heads.index(head)).scores, expected)


def test_a_head_whose_loss_is_huge_or_no_number_leaves_the_others_alone() -> None:
    given = batches()
    wild = Grid.Config(rates=(0.03, 1e200, 0.5), weight_decay=1e-2, nesterov=True)
    tame = Grid.Config(rates=(0.03, 0.5), weight_decay=1e-2, nesterov=True)
    broken, sound = trained(wild, given), trained(tame, given)
    losses, expected = broken(*given[0]).losses, sound(*given[0]).losses
    keep = [place for place, head in enumerate(broken.heads) if head.rate < 1]
    wrecked = losses[[place for place in range(len(losses)) if place not in keep]]
    assert (~(wrecked < 1e100)).all()
    assert not wrecked.isfinite().all()
    torch.testing.assert_close(losses[keep], expected)
    assert together(losses) == expected.min()


def test_descended_together_no_loss_changes_another() -> None:
    losses = torch.tensor([3.0, float("nan"), 1.0, float("inf")], requires_grad=True)
    total = together(losses)
    total.backward()
    assert total == 1
    assert losses.grad is not None
    assert losses.grad.tolist() == [1, 0, 1, 0]
    assert not together(torch.tensor([float("nan")])).isfinite()


def share(rank: int, world: int) -> dict[str, Tensor]:
    return trained(CONFIG, batches(), rank, world).state_dict()


def test_two_processes_train_the_heads_of_one() -> None:
    expected = trained(CONFIG, batches()).state_dict()
    for found in on_processes(share, 2):
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, msg=lambda m, n=name: f"{n}: {m}")


def test_built_on_meta_and_initialised_it_is_what_its_constructor_makes() -> None:
    with torch.device("meta"):
        grid = CONFIG.build(WIDTHS, CLASSES, BATCH)
    initialise(grid.to_empty(device="cpu"), 0)
    for name, tensor in CONFIG.build(WIDTHS, CLASSES, BATCH).state_dict().items():
        assert torch.equal(grid.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    "change", [{"rates": ()}, {"rates": (0.1, -1.0)}, {"rates": (0.1, 0.1)}, {"weight_decay": -1}, {"momentum": 1.0}]
)
def test_a_config_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        Grid.Config(**change)  # type: ignore[arg-type]
