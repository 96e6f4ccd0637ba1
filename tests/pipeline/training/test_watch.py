"""kNN accuracy meanwhile: the figure is that of its step, and training is the same whatever becomes of it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline import goodput
from pipeline.__main__ import main
from pipeline.artifacts import Artifact
from pipeline.checkpoints.state import whole_tensors
from pipeline.evaluation.features import Features, extract
from pipeline.evaluation.search.knn import KNN
from pipeline.models.regnet import RegNet
from pipeline.released import backbones
from pipeline.runs import Run
from pipeline.training import watch
from pipeline.training.observer import FOLDER, Observer
from pipeline.training.watch import Watch
from pipeline.views import Evaluation
from tests.commands import Done
from tests.distributed import on_processes
from tests.pipeline.checkpoints.trainings import sharded, trained
from tests.pipeline.training.test_observer import ANSWERS, DIES, SLEEPS, TASK, hand_over, left


def figures(run: Path) -> dict[int, float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: record["knn"] for record in records if "knn" in record}


def measured(backbone: RegNet, shards: Path) -> float:
    """Here and now, of all samples: the sets of the tests are smaller than what a watch chooses of them."""

    def features(split: str) -> Features:
        view = Evaluation.Config(size=32, resize=32).build()
        with Loader(ShardSet(shards, split), view, batch=8, shuffle=False) as loader:
            return extract(backbone, loader)

    return KNN.Config().build().accuracy(features("train"), features("test"))


def test_the_figure_of_a_step_is_the_accuracy_of_its_checkpoint(chain: tuple[Path, Done]) -> None:
    run = chain[0] / "pretrain"
    found = figures(run)
    assert list(found) == [0, 3, 6, 9, 12]
    network = backbones.load(Artifact.load(run))
    assert found[12] == pytest.approx(measured(network, chain[0] / "shard"), abs=1e-4)
    assert len(set(found.values())) > 1
    (account,) = goodput.read(run)
    assert 0 < account.measuring < account.elapsed
    assert not (run / FOLDER).exists()


def test_a_training_whose_measuring_dies_comes_to_the_same_weights(
    chain: tuple[Path, Done],
    recipes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watch, "Observer", partial(Observer, command=DIES))
    words = ["pretrain", str(recipes / "pretrain.yaml"), f"shards={chain[0] / 'shard'}", f"out={tmp_path}"]
    assert main(words) == 0
    assert Artifact.load(tmp_path).content == Artifact.load(chain[0] / "pretrain").content
    assert figures(tmp_path) == {}
    assert "is not started again" in capsys.readouterr().out
    assert not (tmp_path / FOLDER).exists()


@pytest.fixture
def interrupted(tmp_path: Path) -> Run:
    """A run that was over when it was told to stop, with two steps still to be measured and one recorded."""
    run = Run.open(tmp_path, "f", "")
    run.record(step=0, knn=0.0)
    one = Observer(tmp_path, TASK, command=SLEEPS)
    hand_over(one, [3, 6])
    one.close()
    return run


def test_what_was_left_when_training_was_over_is_measured_by_the_next_start(
    interrupted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "Observer", partial(Observer, command=ANSWERS))
    Watch(interrupted, TASK, "25%").finish(6)
    assert figures(interrupted.path) == {0: 0.0, 3: 0.03, 6: 0.06}
    assert not (interrupted.path / FOLDER).exists()


@pytest.mark.parametrize(("told", "kept"), [(True, 2), (False, 0)])
def test_the_wait_for_the_last_figures_ends_and_says_so(
    interrupted: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: bool, kept: int
) -> None:
    monkeypatch.setattr(watch, "Observer", partial(Observer, command=SLEEPS))
    monkeypatch.setattr(watch, "PATIENCE", 60.0 if told else 0.1)
    monkeypatch.setattr("pipeline.preemption.told", lambda: told or None)
    Watch(interrupted, TASK, "25%").finish(6)
    assert len(left(interrupted.path)) == kept
    assert ("`python -m pipeline probe` measures the checkpoint" in capsys.readouterr().out) == (not told)


def test_a_figure_that_was_recorded_late_stays_when_a_later_step_is_resumed(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "f", "")
    for step in (1, 2, 3, 4, 5):
        run.record(step=step, loss=1.0)
    run.record(step=2, knn=0.5)
    run.record(step=5, knn=0.6)
    run.rewind(lambda record: record.get("step", 0) <= 4)
    assert figures(tmp_path) == {2: 0.5}


def gathered(rank: int, world: int, kind: str) -> dict[str, torch.Tensor]:
    network, _ = sharded(world, kind)
    return {name: tensor.detach().clone() for name, tensor in whole_tensors(network, "0.")}


@pytest.mark.parametrize(("kind", "world"), [("fsdp", 2), ("hsdp", 4), ("ddp", 2)])
def test_sharded_tensors_come_whole_and_under_their_own_names(kind: str, world: int, one_thread: None) -> None:
    network, _ = trained()
    wanted = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("0.")}
    for found in on_processes(gathered, world, kind):
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
