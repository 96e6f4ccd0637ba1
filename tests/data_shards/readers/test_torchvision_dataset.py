"""Data sets of torchvision, built here in the layout it downloads."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from data_shards import images
from data_shards.errors import SourceError
from data_shards.readers.torchvision_dataset import TorchvisionDataset
from tests.data_shards.pictures import jpeg


def test_cifar10_comes_with_its_exact_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    rng = np.random.default_rng(0)
    batches = {}
    for name in [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]:
        data = rng.integers(0, 256, (4, 3072), np.uint8)
        batches[name] = data
        (root / name).write_bytes(pickle.dumps({"data": data, "labels": [0, 1, 9, 3]}))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    reader = TorchvisionDataset.Config(dataset="cifar10", path=str(tmp_path)).build()
    entries = list(reader.entries())
    assert [entry.split for entry in entries].count("train") == 20
    assert (entries[2].label, entries[20].split) == ("truck", "test")
    expected = batches["data_batch_1"][2].reshape(3, 32, 32).transpose(1, 2, 0)
    assert np.array_equal(images.decode(reader.read(entries[2])), expected)


def test_imagenette_has_english_names(tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder = tmp_path / "imagenette2-160" / split / "n01440764"
        folder.mkdir(parents=True)
        (folder / "1.JPEG").write_bytes(jpeg(1))
    reader = TorchvisionDataset.Config(dataset="imagenette", path=str(tmp_path)).build()
    assert [(entry.split, entry.label) for entry in reader.entries()] == [("train", "tench"), ("test", "tench")]


def test_without_a_network_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr(datasets, "CIFAR10", unreachable)
    with pytest.raises(
        SourceError, match=r"cifar10: could not be downloaded to .* connect to the network, or give a folder"
    ):
        TorchvisionDataset.Config(path=str(tmp_path)).build()
