"""The reader that fits a word on a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_shards.errors import SourceError
from data_shards.readers import source_from
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.photographs import Photographs
from data_shards.readers.torchvision_dataset import TorchvisionDataset
from data_shards.readers.webdataset_tars import WebdatasetTars


def holding(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return str(root)


def test_words_name_readers(tmp_path: Path) -> None:
    assert source_from("photographs") == Photographs.Config()
    assert source_from("cifar10") == TorchvisionDataset.Config(dataset="cifar10")
    assert source_from("imagenette") == TorchvisionDataset.Config(dataset="imagenette")
    assert source_from("x-{00..12}.tar") == WebdatasetTars.Config(path="x-{00..12}.tar")


def test_folders_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    root = holding(tmp_path / "a", "train/x.jpg", "test/y.jpg")
    assert source_from(root) == ImageFolder.Config(path=root)
    root = holding(tmp_path / "b", "train/cat/x.jpg")
    assert source_from(root) == ImageFolder.Config(path=root)
    assert source_from(root, holdout=0.2) == ImageFolder.Config(path=root, holdout=0.2)
    root = holding(tmp_path / "c", "cat/x.jpg", "dog/deep/y.png")
    assert source_from(root, holdout=0.1, tiles=True) == ImageFolder.Config(path=root, holdout=0.1)
    root = holding(tmp_path / "d", "x.jpg", "more/y.png")
    assert source_from(root) == ImageFolder.Config(path=root)
    assert source_from(root, tiles=True) == Photographs.Config(path=root)
    root = holding(tmp_path / "e", "train-000000.tar", "manifest.json")
    assert source_from(root) == WebdatasetTars.Config(path=root + "/*.tar")


def test_nonsense_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere: there is no such folder; give a folder of pictures, a list"):
        source_from("nowhere")
    with pytest.raises(SourceError, match="is no folder of pictures, no list and no archive"):
        source_from(holding(tmp_path, "x.doc") + "/x.doc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no image file"):
        next(source_from(str(tmp_path / "empty")).build().entries())
