"""A model of the hub comes with what describes it and nothing else, and is there again without a network.

huggingface_hub itself talks to a small server that gives models from a folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ArtifactError
from pipeline.released.hub import NAME, snapshot
from tests.pipeline.released.hub_server import COMMIT, hub

pytest.importorskip("huggingface_hub", reason="models of the hub take huggingface_hub")


def model(root: Path, name: str, *files: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_text(f"{name} {file}")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        (
            ["config.json", "model.safetensors", "pytorch_model.bin", "flax_model.msgpack"],
            ["config.json", "model.safetensors"],
        ),
        (["config.json", "preprocessor_config.json", "pytorch_model.bin", "tf_model.h5"], None),
        (
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            None,
        ),
        (["README.md", "weights.pth"], None),
    ],
)
def test_what_is_needed_is_fetched_in_one_format(files: list[str], fetched: list[str] | None, tmp_path: Path) -> None:
    model(tmp_path / "hub", "timm/a.b", *files)
    with hub(tmp_path / "hub") as server:
        folder = snapshot("timm/a.b", cache=tmp_path / "cache", endpoint=server.url)
    wanted = fetched or sorted(set(files) - {"tf_model.h5"})
    assert names(folder) == wanted
    assert folder.name == COMMIT
    assert (folder / wanted[0]).read_text() == f"timm/a.b {wanted[0]}"


def test_what_was_fetched_once_is_there_without_a_network(tmp_path: Path) -> None:
    model(tmp_path / "hub", "timm/a", "config.json", "model.safetensors", "pytorch_model.bin")
    with hub(tmp_path / "hub") as server:
        first = snapshot("timm/a", cache=tmp_path / "cache", endpoint=server.url)
        gone = server.url
    assert snapshot("timm/a", cache=tmp_path / "cache", endpoint=gone) == first
    with pytest.raises(ArtifactError, match=r"timm/b: the hub cannot be reached .*weights=FOLDER"):
        snapshot("timm/b", cache=tmp_path / "cache", endpoint=gone)


def test_each_mistake_has_its_sentence(tmp_path: Path) -> None:
    model(tmp_path / "hub", "timm/a", "config.json", "model.safetensors")
    model(tmp_path / "hub", "timm/empty", "README.md")
    model(tmp_path / "hub", "meta/closed", "model.safetensors")
    with hub(tmp_path / "hub") as server:
        server.gated.add("meta/closed")
        for name, says in {
            "timm/none": "is no model of the hub, and no file",
            "timm/a@v9": "has no revision v9; leave it out: weights=timm/a",
            "timm/empty": "holds no weights that are read here",
            "meta/closed": "asks for consent to its terms.*HF_TOKEN",
        }.items():
            with pytest.raises(ArtifactError, match=says):
                snapshot(name, cache=tmp_path / "cache", endpoint=server.url)
        assert snapshot(f"timm/a@{COMMIT}", cache=tmp_path / "cache", endpoint=server.url).name == COMMIT


def test_names_of_the_hub() -> None:
    assert NAME.fullmatch("timm/regnety_320.seer_ft_in1k")
    assert NAME.fullmatch("facebook/regnet-y-320-seer@main")
    assert not any(NAME.fullmatch(name) for name in ("seer_rg32", "a/b/c", "/a/b", "./a", "../a/b", "https://x/y"))
