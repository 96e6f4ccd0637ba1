"""The stage `lowshot`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import ArtifactError
from pipeline.evaluation.heads.lowshot import fit
from pipeline.evaluation.intervals import over_seeds
from pipeline.evaluation.labels import splits
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
    assert "±" in table["rows"][0][1]


def test_one_draw_has_no_interval(features: Path, tmp_path: Path) -> None:
    execute("lowshot", config(features, tmp_path / "run", shots=(2,), draws=1, strengths=(1e-3,)))
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["shots"]["2"]["interval"] is None
    assert "±" not in (tmp_path / "run" / "results.json").read_text()


def test_a_class_without_a_sample_is_named(tmp_path: Path) -> None:
    vectors, labels = clouds(60, 0)
    split = ({"average": vectors}, torch.where(labels == 3, -1, labels))
    made = feature_set(tmp_path / "features", {"train": split, "test": split}, CLASSES)
    with pytest.raises(ArtifactError, match="has no labelled sample of class3 in split 'train'"):
        execute("lowshot", config(made, tmp_path / "run"))


@pytest.mark.parametrize(
    "change", [{"shots": ()}, {"shots": (0, 1)}, {"shots": (1, 1)}, {"draws": 0}, {"strengths": ()}]
)
def test_a_config_that_means_nothing_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        config(tmp_path, tmp_path, **change)
