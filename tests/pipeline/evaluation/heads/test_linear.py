"""Training a grid on features in memory: its order, its schedule, and CIFAR-10 beside scikit-learn."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.evaluation.heads import linear
from pipeline.evaluation.heads.grid import Grid, together
from pipeline.models.initialise import initialise
from pipeline.training.schedules import WarmupCosine
from tests.pipeline.evaluation.made_features import clouds
from tests.pipeline.networks import small_backbone

CIFAR10 = Path(__file__).parents[5] / "shared" / "data" / "cifar10.tar.xz"
CONFIG = Grid.Config(rates=(0.1, 1.0), weight_decay=1e-3)


def test_batches_go_through_all_rows_again_and_again_each_time_in_another_order() -> None:
    found = torch.cat(list(itertools.islice(linear.batches(10, 4, 0), 5)))
    assert sorted(found[:10].tolist()) == sorted(found[10:].tolist()) == list(range(10))
    assert found[:10].tolist() != found[10:].tolist()
    assert not torch.equal(found, torch.cat(list(itertools.islice(linear.batches(10, 4, 1), 5))))
    assert len(next(linear.batches(3, 8, 0))) == 8


def test_training_takes_the_steps_of_a_plain_loop_on_the_rows_that_it_may_see() -> None:
    features, labels = clouds(60, 0)
    rows = torch.arange(0, 60, 2)
    trained, plain = (CONFIG.build({"average": 20}, 5, 16) for _ in range(2))
    reported: list[int] = []
    linear.train(
        trained,
        {"average": features},
        labels,
        batch=16,
        steps=6,
        factor=lambda step: 1 - step / 6,
        seed=3,
        rows=rows,
        report=lambda step, losses: reported.append(step),
    )
    optimizer = torch.optim.SGD(plain.parameters(), 1.0, momentum=0.9)
    for step, chosen in zip(range(6), linear.batches(30, 16, 3), strict=False):
        optimizer.param_groups[0]["lr"] = 1 - step / 6
        optimizer.zero_grad()
        together(plain({"average": features[rows[chosen]]}, labels[rows[chosen]]).losses).backward()
        optimizer.step()
    assert reported == [1, 2, 3, 4, 5, 6]
    assert not trained.training
    torch.testing.assert_close(trained.state_dict(), plain.state_dict())


def test_asked_in_pieces_the_heads_answer_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clouds(70, 0)
    labels[::7] = -1
    grid = CONFIG.build({"average": 20}, 5, 16)
    linear.train(grid, {"average": features}, labels, batch=16, steps=10, factor=lambda step: 1.0, seed=0)
    rows = torch.arange(3, 70)
    said = grid({"average": features[rows]}, labels[rows], 2)
    monkeypatch.setattr(linear, "CHUNK", 16)
    right, accuracy = linear.ask(grid, {"average": features}, labels, rows, head=2)
    assert torch.equal(right, said.right)
    assert accuracy is not None
    assert (accuracy.right, accuracy.samples) == (int(said.right[2]), int((labels[rows] >= 0).sum()))
    assert linear.ask(grid, {"average": features}, labels)[1] is None


def cifar10(train: int, test: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Every so many pictures of each split, uint8 (N, 3, 32, 32), and their classes."""
    every = {"train": 50_000 // train, "test": 10_000 // test}
    pictures: dict[str, list[tuple[np.ndarray, str]]] = {"train": [], "test": []}
    seen = dict.fromkeys(every, 0)
    with tarfile.open(CIFAR10, "r|xz") as archive:
        for member in archive:
            split, _, rest = member.name.removeprefix("./").removeprefix("cifar10/").partition("/")
            if not member.isfile() or split not in every:
                continue
            seen[split] += 1
            if seen[split] % every[split] == 0:
                file = archive.extractfile(member)
                assert file is not None
                pictures[split].append((np.asarray(Image.open(io.BytesIO(file.read()))), rest.partition("/")[0]))
    names = sorted({name for _, name in pictures["train"]})
    return {
        split: (
            torch.from_numpy(np.stack([pixels for pixels, _ in found])).permute(0, 3, 1, 2),
            torch.tensor([names.index(name) for _, name in found]),
        )
        for split, found in pictures.items()
    }


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.exists(), reason="needs CIFAR-10 in ../shared")
def test_on_cifar10_it_is_within_three_tenths_of_a_point_of_scikit_learn() -> None:
    logistic = pytest.importorskip("sklearn.linear_model")
    pictures = cifar10(5000, 2000)
    backbone = small_backbone(widths=(32, 64), depths=(1, 1), group_width=16).eval()
    initialise(backbone, 0)
    with torch.no_grad():
        vectors = {
            split: torch.cat([backbone(backbone.prepare(part)) for part in pixels.split(500)])
            for split, (pixels, _) in pictures.items()
        }
    mean, std = vectors["train"].mean(0), vectors["train"].std(0)
    values = {split: (found - mean) / std for split, found in vectors.items()}
    (_, labels), (_, answers) = pictures["train"], pictures["test"]
    assert (len(labels), len(answers)) == (5000, 2000)
    reference = logistic.LogisticRegression(C=1 / (5000 * 1e-3), max_iter=2000)
    reference.fit(values["train"].numpy(), labels.numpy())
    expected = reference.score(values["test"].numpy(), answers.numpy())
    grid = Grid.Config(rates=(0.1,), batch_norm="without", weight_decay=1e-3).build({"average": 64}, 10, 256)
    schedule = WarmupCosine(warmup=0, end=0.0)
    linear.train(
        grid,
        {"average": values["train"]},
        labels,
        batch=256,
        steps=2000,
        factor=lambda step: schedule.factor(step, 2000, 5000 / 256),
        seed=0,
    )
    right, _ = linear.ask(grid, {"average": values["test"]}, answers)
    assert (right / 2000).tolist() == pytest.approx([expected], abs=0.003)
    assert expected > 0.25, "chance is a tenth"
