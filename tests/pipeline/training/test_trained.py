"""What training begins with and what it leaves, whole or sharded: classifiers by rows, averages, accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from data_shards.loader import Loader
from data_shards.progress import Progress as ProgressLine
from data_shards.stream import ShardSet
from pipeline.checkpoints.state import AVERAGE, OBJECTIVE
from pipeline.checkpoints.store import content, read_tensors, save
from pipeline.checkpoints.tensors import root_hash
from pipeline.errors import RunError
from pipeline.evaluation.classified.measured import Measured, measure
from pipeline.evaluation.labels.asked_classes import AskedClasses
from pipeline.objectives import Classification, Progress
from pipeline.training import trained
from pipeline.training.assembly import materialise, prepare
from pipeline.training.settings import TrainerConfig
from pipeline.training.weights import Weights
from pipeline.views import Evaluation
from tests.data_shards.pictures import Listed, broken_jpeg, jpeg, pack_into
from tests.distributed import on_processes
from tests.pipeline.networks import random_views, small_backbone

CPU = torch.device("cpu")
VIEW = Evaluation.Config(size=16, resize=16)
WAYS = pytest.mark.parametrize(
    "way", [{}, {"devices": 2}, {"devices": 4}, {"devices": 2, "sharding": "ddp"}], ids=["alone", "2", "4", "ddp"]
)


def on_meta(classes: int = 3) -> Classification:
    with torch.device("meta"):
        return Classification.Config().build(small_backbone(), classes)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, and others as their average; with answers that differ from image to image."""
    torch.manual_seed(0)
    state: dict[str, Any] = {}
    views = random_views(64, ((1, 16),))
    for kind in (OBJECTIVE, AVERAGE):
        objective = Classification.Config().build(small_backbone(), 3)
        with torch.no_grad():
            for _ in range(30):
                objective(views, Progress())
            objective.eval().classifier.weight.normal_()
            objective.classifier.bias.zero_()
            objective.classifier.bias.sub_(objective.scores(views.crops[0]).mean(0))
        state[kind] = objective.state_dict()
    return save(tmp_path_factory.mktemp("run"), state, step=3, consumed=48, keep=1).path


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven images, of which one is broken: at eight a batch, three are left, for four processes too few."""
    out = tmp_path_factory.mktemp("shards")
    images = [(f"{n}.jpg", "test", f"class{n % 3}", broken_jpeg(n) if n == 4 else jpeg(n, 20, 24)) for n in range(11)]
    pack_into(out, Listed(images), probe="header")
    return out


def run(way: dict[str, Any], function: Any, *arguments: Any) -> list[Any]:
    trainer = TrainerConfig(batch=8, **way)
    if trainer.processes == 1:
        return [function(0, 1, trainer, *arguments)]
    return on_processes(function, trainer.processes, trainer, *arguments)


def measured(rank: int, world: int, trainer: TrainerConfig, checkpoint: Path, shards: Path, kind: str) -> Measured:
    objective = on_meta()
    trained.load(objective, checkpoint, trainer, trained.meet(trainer), kind)
    loader = Loader(ShardSet(shards, "test"), VIEW.build(), batch=8, rank=rank, world=world, shuffle=False)
    with loader, ProgressLine(11, unit="images", label="test", quiet=True) as progress:
        return trained.classify(objective, loader, progress)


@WAYS
@pytest.mark.parametrize("kind", [OBJECTIVE, AVERAGE])
def test_all_processes_find_the_accuracy_of_the_whole_network(
    way: dict[str, Any], kind: str, checkpoint: Path, shards: Path
) -> None:
    whole = Classification.Config().build(small_backbone(), 3)
    tensors = read_tensors(checkpoint, "") if kind == OBJECTIVE else averaged(checkpoint)
    whole.load_state_dict(tensors)
    with Loader(ShardSet(shards, "test"), VIEW.build(), batch=11, shuffle=False) as loader:
        names = ("class0", "class1", "class2")
        expected = measure(whole.backbone, whole.classifier, loader, AskedClasses.of(names, names, where=""))
    accuracy, calibration = expected.accuracy, expected.calibration
    assert accuracy.samples == 10, "a substitute is not counted"
    assert len(accuracy.confusion.sum(0).nonzero()) > 1, "the answers differ"
    for found in run(way, measured, checkpoint, shards, kind):
        assert torch.equal(found.accuracy.confusion, accuracy.confusion)
        assert found.accuracy.in_top5 == accuracy.in_top5
        assert torch.equal(found.calibration.counts, calibration.counts)
        assert found.calibration.error == pytest.approx(calibration.error, rel=1e-4)
        assert found.calibration.nll == pytest.approx(calibration.nll, rel=1e-4)
        assert (found.seen, found.unsound) == (11, 0)


def test_scores_that_are_no_numbers_are_refused() -> None:
    found = Measured.of(torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), torch.tensor([1, 0]), 3)
    with pytest.raises(RunError, match=r"runs/x: gives scores that are no numbers for 1 of 3 images; lower the rate"):
        found.require_sound("runs/x", "lower the rate")


def averaged(checkpoint: Path) -> dict[str, Tensor]:
    objective = Classification.Config().build(small_backbone(), 3)
    trained.load(objective, checkpoint, TrainerConfig(), CPU, AVERAGE)
    return objective.state_dict()


def kept(rank: int, world: int, trainer: TrainerConfig, checkpoint: Path, folder: Path) -> Path:
    objective = on_meta()
    trained.load(objective, checkpoint, trainer, trained.meet(trainer), AVERAGE)
    return trained.keep(objective, folder, 3).path


@WAYS
def test_an_average_becomes_a_checkpoint_like_any_other(way: dict[str, Any], checkpoint: Path, tmp_path: Path) -> None:
    (path, *_) = run(way, kept, checkpoint, tmp_path)
    (again, *_) = run(way, kept, checkpoint, tmp_path)
    assert again == path, "after a kill it is written anew"
    tensors = read_tensors(path, "")
    assert set(tensors) == set(on_meta().state_dict())
    for name, tensor in averaged(checkpoint).items():
        assert torch.equal(tensors[name], tensor), name
    assert content(path) == root_hash(tensors)
    assert not torch.equal(tensors["classifier.weight"], read_tensors(checkpoint, "classifier.")["weight"])


def begun(
    rank: int, world: int, trainer: TrainerConfig, checkpoint: Path, rows: tuple[int, ...] | None
) -> dict[str, Tensor]:
    objective = on_meta(classes=5)
    prepare(objective, trainer, "cpu")
    materialise(objective, CPU, seed=1)
    Weights(checkpoint, rows).load(objective)
    named = {**dict(objective.named_parameters()), **dict(objective.named_buffers())}
    return {
        name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()
        for name, tensor in named.items()
    }


@WAYS
def test_a_classifier_begins_with_the_rows_of_its_classes(way: dict[str, Any], checkpoint: Path) -> None:
    rows = (2, 0, 0, 1, 2)
    given = read_tensors(checkpoint, "")
    for found in run(way, begun, checkpoint, rows):
        assert torch.equal(found["classifier.weight"], given["classifier.weight"][list(rows)])
        assert torch.equal(found["classifier.bias"], given["classifier.bias"][list(rows)])
        assert torch.equal(found["backbone.s2.b1.f.a.weight"], given["backbone.s2.b1.f.a.weight"])
        assert torch.equal(found["backbone.stem.bn.running_mean"], given["backbone.stem.bn.running_mean"])


def test_without_rows_the_classifier_is_new_and_the_backbone_known(checkpoint: Path) -> None:
    found, given = begun(0, 1, TrainerConfig(), checkpoint, None), read_tensors(checkpoint, "")
    assert found["classifier.weight"].std() == pytest.approx(0.01, rel=0.3)
    assert torch.equal(found["backbone.s2.b1.f.a.weight"], given["backbone.s2.b1.f.a.weight"])
