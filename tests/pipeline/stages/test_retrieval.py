"""The stage `retrieval`: its figures are the sums' shares, many processes count as one, and it says what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.artifacts import Artifact
from pipeline.errors import ArtifactError
from pipeline.evaluation.features import Features
from pipeline.evaluation.search.retrieval import sums
from pipeline.results import share
from pipeline.runs import Run
from pipeline.stages import retrieval
from pipeline.stages.retrieval import Config
from pipeline.stages.stage import execute
from tests.distributed import on_processes
from tests.pipeline.evaluation.extracted import features, names
from tests.pipeline.stages.test_knn import clouds


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("retrieval")
    splits = {"train": {"average": clouds(500, 1)}, "test": {"average": clouds(1300, 2)}}
    given = features(folder / "features", splits, classes=names(6))
    return Config(out=str(folder / "retrieval"), features=str(given), ks=(1, 10))


@pytest.mark.parametrize("gallery", ["train", "test"])
def test_figures_are_shares_of_the_queries_that_can_be_answered(recipe: Config, gallery: str, tmp_path: Path) -> None:
    made = execute("retrieval", replace(recipe, ks=(10, 1), gallery=gallery, out=str(tmp_path / "out")))
    found = made.figures
    queries, bank = clouds(1300, 2), clouds(500, 1) if gallery == "train" else clouds(1300, 2)
    own = queries.indices if gallery == "test" else None
    answered, _, *values = sums(queries.features, queries.labels, lambda: [bank.labelled()], (10, 1), own=own).tolist()
    names = ["map", "map_at_10", "map_at_1", "recall_at_10", "recall_at_1"]
    assert [found[name] for name in names] == pytest.approx([value / answered for value in values], abs=1e-6)
    assert set(found) == set(names), "shares, and nothing else"
    assert made.facts == {"queries": answered, "unanswerable": 0}
    assert answered == int((queries.labels >= 0).sum())
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    [table], [chart] = saved["tables"], saved["charts"]
    assert chart["logarithmic"]
    assert chart["series"] == [
        [title, [[k, found[f"{name}_at_{k}"]] for k in (1, 10)]]
        for title, name in (("mAP@k", "map"), ("recall@k", "recall"))
    ]
    assert table["heads"] == ["tap", "mAP", "mAP@10", "mAP@1", "recall@10", "recall@1"]
    assert table["rows"] == [["average", *(share(found[name]) for name in names)]]


def counted(rank: int, world: int, config: Config, folder: str) -> dict[str, float]:
    out = Path(folder)
    out.mkdir(exist_ok=True)
    given = {"features": Artifact.load(config.features)}
    return dict(retrieval.run(config, given, Run(out, "made", writes=rank == 0)).figures)


def test_processes_count_as_one(recipe: Config, tmp_path: Path) -> None:
    alone = counted(0, 1, recipe, str(tmp_path / "one"))
    assert on_processes(counted, 2, recipe, str(tmp_path / "two")) == [pytest.approx(alone)] * 2


def test_what_cannot_be_searched_is_said(recipe: Config, tmp_path: Path) -> None:
    one = Features(torch.eye(3), torch.arange(3), torch.arange(3))
    given = features(tmp_path / "a", {"test": {"average": one}}, classes=names(3))
    with pytest.raises(ArtifactError, match="has no sample in split test with another of its class in split test"):
        execute("retrieval", replace(recipe, features=str(given), out=str(tmp_path / "b")))
    with pytest.raises(ArtifactError, match="no features of split 'val'"):
        execute("retrieval", replace(recipe, gallery="val", out=str(tmp_path / "c")))
    with pytest.raises(ValueError, match="ks needs numbers"):
        Config(ks=(0,))
