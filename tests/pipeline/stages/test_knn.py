"""The stage `knn`: a grid of what single questions give, chosen by the bank's own; many processes count as one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.artifacts import Artifact
from pipeline.errors import ArtifactError
from pipeline.evaluation.features import Features
from pipeline.evaluation.search.knn import KNN
from pipeline.results import share
from pipeline.runs import Run
from pipeline.stages import knn
from pipeline.stages.knn import Config
from pipeline.stages.stage import execute
from tests.distributed import on_processes
from tests.pipeline.evaluation.extracted import features, names

KS, TEMPERATURES = (1, 5, 30), (0.05, 0.5)


def clouds(count: int, seed: int, width: int = 12) -> Features:
    """Points about six centres, hard to tell apart; one in eleven has no label."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 6, (count,), generator=draw)
    centres = torch.randn(6, width, generator=torch.Generator().manual_seed(9))
    vectors = centres[labels] + 1.6 * torch.randn(count, width, generator=draw)
    return Features(vectors, torch.where(torch.arange(count) % 11 == 0, -1, labels), torch.arange(count))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("knn")
    bank, query = clouds(700, 1), clouds(1300, 2)
    taps = {
        split: {"average": found, "gem": found._replace(features=found.features.abs())}
        for split, found in (("train", bank), ("test", query))
    }
    given = features(folder / "features", taps, classes=names(6))
    return Config(out=str(folder / "knn"), features=str(given), ks=KS, temperatures=TEMPERATURES, asked=120)


def tables(out: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(out) / "results.json").read_text())["tables"]
    return found


def test_the_grid_is_what_single_questions_give_and_the_choice_is_the_banks_own(
    recipe: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    made = execute("knn", recipe)
    bank, query = clouds(700, 1), clouds(1300, 2)
    summary, grid, _ = tables(recipe.out)
    asked = bank.labelled()
    asked = Features(*(part[torch.arange(120) * len(asked.labels) // 120] for part in asked))
    alone = {}
    for k, row in zip(KS, grid["rows"], strict=True):
        for temperature, cell in zip(TEMPERATURES, row[1:], strict=True):
            build = KNN.Config(k=k, temperature=temperature).build
            assert share(build().accuracy(bank, query)) == cell
            right = 0
            for n in range(120):  # each asked about without itself
                one = Features(*(part[n : n + 1] for part in asked))
                rest = Features(*(part[bank.indices != one.indices] for part in bank))
                right += build().accuracy(rest, one)
            alone[k, temperature] = right
    k, temperature = max(alone, key=lambda place: alone[place])
    assert (made.facts["k"], made.facts["temperature"]) == (k, temperature)
    assert set(made.figures) == {"knn", "knn_top5"}, "shares, and nothing else"
    expected = KNN.Config(k=k, temperature=temperature).build().accuracy(bank, query)
    assert made.figures["knn"] == pytest.approx(expected, abs=1e-6)
    assert summary["rows"][0] == ["average", f"{k}", f"{temperature:g}", share(expected), summary["rows"][0][4]]
    assert [row[0] for row in summary["rows"]] == ["average", "gem"]
    assert f"{int((query.labels >= 0).sum()):,} queries of test" in summary["title"]
    assert "top-5" in capsys.readouterr().out


def counted(rank: int, world: int, config: Config, folder: str) -> dict[str, float]:
    out = Path(folder)
    out.mkdir(exist_ok=True)
    given = {"features": Artifact.load(config.features)}
    return dict(knn.run(config, given, Run(out, "made", writes=rank == 0)).figures)


@pytest.mark.parametrize("world", [2, 4])
def test_processes_count_as_one(recipe: Config, world: int, tmp_path: Path) -> None:
    [alone] = [counted(0, 1, recipe, str(tmp_path / "one"))]
    assert on_processes(counted, world, recipe, str(tmp_path / "many")) == [alone] * world
    assert tables(str(tmp_path / "one")) == tables(str(tmp_path / "many"))


def test_a_split_asked_about_itself_leaves_each_sample_out(recipe: Config, tmp_path: Path) -> None:
    config = replace(recipe, out=str(tmp_path / "out"), query="train", ks=(1,), temperatures=(0.1,), taps=("average",))
    bank = clouds(700, 1).labelled()
    unit = torch.nn.functional.normalize(bank.features.double(), dim=1)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    expected = float((bank.labels[cosines.argmax(1)] == bank.labels).double().mean())
    assert execute("knn", config).figures["knn"] == pytest.approx(expected, abs=1e-6)


def test_a_class_without_a_neighbour_is_noted(
    recipe: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bank, query = clouds(60, 1), clouds(60, 2)
    without = bank._replace(labels=torch.where(bank.labels == 2, -1, bank.labels))
    given = features(tmp_path / "a", {"train": {"average": without}, "test": {"average": query}}, classes=names(7))
    execute("knn", replace(recipe, features=str(given), out=str(tmp_path / "b")))
    count = int((query.labels == 2).sum())
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"knn: class class2 has no label in split train, so its {count} images of split test count as wrong",
        "knn: class class6 has no image at all and is never chosen",
    ]


def test_what_cannot_be_asked_is_said(recipe: Config, tmp_path: Path) -> None:
    bank = clouds(20, 1)
    without = Features(bank.features, torch.full_like(bank.labels, -1), bank.indices)
    given = features(tmp_path / "a", {"train": {"average": bank}, "test": {"average": without}}, classes=names(6))
    with pytest.raises(ArtifactError, match="has no labelled sample in split test"):
        execute("knn", replace(recipe, features=str(given), out=str(tmp_path / "b")))
    given = features(tmp_path / "c", {"train": {"average": bank}}, classes=names(0))
    with pytest.raises(ArtifactError, match="has no labels; knn needs a class per sample"):
        execute("knn", replace(recipe, features=str(given), out=str(tmp_path / "d")))
    with pytest.raises(ArtifactError, match="no features of tap 'res2 max'"):
        execute("knn", replace(recipe, taps=("res2 max",), out=str(tmp_path / "e")))
    with pytest.raises(ArtifactError, match="knn needs features; make it first or set features=DIR"):
        execute("knn", replace(recipe, features=str(tmp_path / "none"), out=str(tmp_path / "f")))


@pytest.mark.parametrize("change", [{"ks": ()}, {"ks": (5, 5)}, {"temperatures": (0.0,)}, {"asked": 0}])
def test_a_recipe_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"needs numbers|must be at least 1"):
        Config(**change)  # type: ignore[arg-type]
