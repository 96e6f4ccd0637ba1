"""The stage `lowshot`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import ArtifactError, RunError
from pipeline.evaluation.compute import Processes
from pipeline.evaluation.heads.lowshot import fit
from pipeline.evaluation.intervals import over_seeds
from pipeline.evaluation.labels import splits
from pipeline.results import share
from pipeline.stages.lowshot import Config
from pipeline.stages.stage import execute
from tests.pipeline.evaluation.made_features import clouds, feature_set

CLASSES = [f"class{n}" for n in range(5)]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {}
    for split, samples, seed in (("train", 400, 0), ("test", 330, 1)):
        vectors, labels = clouds(samples, seed, distance=0.5)
        labels[::10] = -1
        splits[split] = ({"average": vectors}, labels)
    return feature_set(tmp_path_factory.mktemp("made") / "features", splits, CLASSES)


def config(features: Path, out: Path, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "features": str(features),
        "out": str(out),
        "shots": (1, 5, 500),
        "draws": 3,
        "strengths": (1e-2, 1e-4),
    }
    settings["iterations"] = 30
    return Config(**{**settings, **changes})


def test_the_figures_are_means_over_draws_each_on_samples_of_its_own(features: Path, tmp_path: Path) -> None:
    settings = config(features, tmp_path / "run", seed=4)
    done = execute("lowshot", settings)
    (train, labels), (test, answers) = clouds(400, 0, distance=0.5), clouds(330, 1, distance=0.5)
    labels[::10], answers[::10] = -1, -1
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["shots"]
    for count in settings.shots:
        expected = []
        for seed in (4, 5, 6):
            rows = torch.from_numpy(splits.few(labels.numpy(), count, seed))
            found = fit(train[rows], labels[rows], 5, settings.strengths, settings.iterations)
            expected.append(found.right(test, answers) / 297)
        assert scores[str(count)]["draws"] == pytest.approx(expected, abs=6e-5)
        mean, half = over_seeds(expected)
        assert done.figures[f"accuracy_{count}_shots"] == pytest.approx(mean, abs=6e-5)
        assert scores[str(count)]["interval"] == pytest.approx(half, abs=6e-5)
    assert done.figures["accuracy_1_shots"] < done.figures["accuracy_5_shots"] < done.figures["accuracy_500_shots"]
    assert len(set(scores["5"]["draws"])) > 1
    assert len(set(scores["500"]["draws"])) == 1, "where all are taken, no draw differs"
    table = json.loads((tmp_path / "run" / "results.json").read_text())["tables"][0]
    assert [row[0] for row in table["rows"]] == ["1", "5", "500"]
    assert table["rows"][0][1] == share(scores["1"]["accuracy"])
    assert table["rows"][0][2].startswith("± ")


def test_one_draw_has_no_interval(features: Path, tmp_path: Path) -> None:
    execute("lowshot", config(features, tmp_path / "run", shots=(2,), draws=1, strengths=(1e-3,)))
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["shots"]["2"]["interval"] is None
    assert "±" not in (tmp_path / "run" / "results.json").read_text()


def test_a_class_without_a_sample_is_refused_where_the_test_asks_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors, labels = clouds(60, 0)
    without = ({"average": vectors}, torch.where(labels == 3, -1, labels))
    made = feature_set(tmp_path / "a", {"train": without, "test": ({"average": vectors}, labels)}, CLASSES)
    with pytest.raises(ArtifactError, match="images of class class3, of which there is no label to learn from"):
        execute("lowshot", config(made, tmp_path / "run"))
    made = feature_set(tmp_path / "b", {"train": without, "test": without}, CLASSES)
    done = execute("lowshot", config(made, tmp_path / "run2", shots=(5,)))
    assert "lowshot: class class3 has no image at all and is never chosen" in capsys.readouterr().out
    assert done.figures["accuracy_5_shots"] > 0.5


def test_a_gpu_that_is_not_there_is_refused_and_a_cpu_may_be_asked_for(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match="is cuda, and this machine has no GPU"):
        execute("lowshot", config(features, tmp_path / "run", compute=Processes(accelerator="cuda")))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    execute("lowshot", config(features, tmp_path / "run2", shots=(1,), compute=Processes(accelerator="cpu")))


@pytest.mark.parametrize(
    "change",
    [
        {"shots": ()},
        {"shots": (0, 1)},
        {"shots": (1, 1)},
        {"draws": 0},
        {"strengths": ()},
        {"compute": Processes(devices=2)},
    ],
)
def test_a_config_that_means_nothing_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        config(tmp_path, tmp_path, **change)
