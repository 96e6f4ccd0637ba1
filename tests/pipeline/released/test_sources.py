"""Whatever names weights leads to a file on this machine, or to a sentence."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch

from pipeline import config
from pipeline.artifacts import WEIGHTS
from pipeline.errors import ArtifactError
from pipeline.models.sizes import SIZES
from pipeline.released import sources
from pipeline.released.catalog import CATALOG, Known, known, known_file
from pipeline.released.readers import kinds
from pipeline.released.sources import Source, check_hash, find, in_folder, sha256
from pipeline.views import Evaluation
from tests.data_shards.servers import files
from tests.pipeline.released.hub_server import COMMIT, hub


def weights(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"x": torch.ones(3)}, path)
    return path


def test_a_file_is_itself_and_known_by_its_name_if_that_is_the_only_one(tmp_path: Path) -> None:
    file = weights(tmp_path / "mine.torch")
    assert find(str(file)) == Source(file=file, origin="mine.torch")
    seer = weights(tmp_path / "seer_regnet32gf_model_iteration244000.torch")
    assert find(str(seer)).known == CATALOG["seer_rg32"]
    assert find(str(weights(tmp_path / "model_final_checkpoint_phase0.torch"))).known is None, "two have this name"


def test_a_url_and_a_name_of_the_catalog_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights(tmp_path / "zoo" / "m.torch")
    with files(tmp_path / "zoo") as server:
        url = f"{server.url}/m.torch"
        entry = Known(url=url, size="seer_rg32", what="a test")
        assert find(url, tmp_path / "cache").origin == url
        monkeypatch.setitem(CATALOG, "seer_test", entry)
        found = find("seer_test", tmp_path / "cache")
        assert (found.origin, found.known) == (url, entry)
        assert find(url, tmp_path / "cache").known == entry, "a URL of the catalog is known too"


def test_a_model_of_the_hub_is_fetched_and_named_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    weights(tmp_path / "hub" / "timm" / "regnety_002.x" / "pytorch_model.bin")
    with hub(tmp_path / "hub") as server:
        there = functools.partial(sources.hub.snapshot, cache=tmp_path / "cache", endpoint=server.url)
        monkeypatch.setattr(sources.hub, "snapshot", there)
        found = find("timm/regnety_002.x")
    assert found.file.name == "pytorch_model.bin"
    assert found.origin == f"hub:timm/regnety_002.x@{COMMIT}"


def test_a_folder_gives_its_best_file(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model.safetensors", "other.safetensors"):
        weights(tmp_path / name)
    assert in_folder(tmp_path).name == "model.safetensors"
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").unlink()
    assert find(str(tmp_path)).file.name == "other.safetensors"
    weights(tmp_path / "third.safetensors")
    with pytest.raises(ArtifactError, match=r"holds 2 files of weights \(other.safetensors, third.safetensors\)"):
        in_folder(tmp_path)


def test_what_is_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "artifact.json").write_text("{}")
    for given, says in {
        str(tmp_path / "empty"): "is a folder without weights",
        str(tmp_path / "run"): "is a run of this pipeline.*give it as checkpoint=",
        str(tmp_path / "none.pth"): "there is no such file",
        "none.pth": "there is no such file",
        "runs/none.pth": "there is no such file",
        "seer_rg3": "near it is seer_rg32",
        "regnety_320.seer": "near it is timm/regnety_320.seer",
        "regnet-y-320-seer": "near it is facebook/regnet-y-320-seer",
        "resnet": "names are seer_rg32, seer_rg64",
    }.items():
        with pytest.raises(ArtifactError, match=says):
            find(given)


def test_a_hash_that_is_asked_for_or_stands_in_the_name_is_held_against_the_file(tmp_path: Path) -> None:
    file = weights(tmp_path / "regnet.pth")
    found = sha256(file)
    check_hash(Source(file=file, origin=""), found, None)
    check_hash(Source(file=file, origin=""), found, found[:10].upper())
    with pytest.raises(ArtifactError, match=r"has the sha256 [0-9a-f]{12}…, and sha256 asks for 0123"):
        check_hash(Source(file=file, origin=""), found, "0123")
    for digits in (found[:8], "0000000a"):
        named = Source(file=file.rename(file.with_name(f"regnet_y_400mf-{digits}.pth")), origin="")
        file = named.file
        if digits == found[:8]:
            check_hash(named, found, None)
        else:
            with pytest.raises(ArtifactError, match=rf"its name says 0000000a; .*set sha256={found[:12]}"):
                check_hash(named, found, None)


@pytest.mark.parametrize("name", ["swav-20230101.pth", "model-00001000.pt", "epoch-00000100.pth.tar"])
def test_a_date_or_a_step_in_a_name_is_no_hash(name: str, tmp_path: Path) -> None:
    file = weights(tmp_path / name)
    check_hash(Source(file=file, origin=""), sha256(file), None)


@pytest.mark.parametrize("suffix", WEIGHTS)
def test_every_ending_of_weights_is_known_wherever_weights_are_looked_for(suffix: str, tmp_path: Path) -> None:
    assert in_folder(weights(tmp_path / f"m{suffix}").parent).suffix == suffix
    with pytest.raises(ArtifactError, match="there is no such file"):
        find(f"none{suffix}")
    assert suffix in kinds.WEIGHTS


@pytest.mark.parametrize("name", CATALOG)
def test_an_entry_of_the_catalog_is_complete(name: str) -> None:
    entry = CATALOG[name]
    assert entry.size in SIZES
    config.build(Evaluation.Config, entry.view)
    assert known(entry.url) == entry
    assert entry.url.startswith("https://dl.fbaipublicfiles.com/vissl/model_zoo/")
    assert entry.imagenet == (name.startswith(("seer", "sup")) and name.endswith("_in1k"))
    assert (known_file(entry.url.rpartition("/")[2]) is None) == entry.url.endswith(
        "/model_final_checkpoint_phase0.torch"
    )
