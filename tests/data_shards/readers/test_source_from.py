"""The reader that fits a word on a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_shards.errors import SourceError
from data_shards.readers import source_from
from data_shards.readers.archives import Archives
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.image_list import ImageList
from data_shards.readers.photographs import Photographs
from data_shards.readers.torchvision_dataset import TorchvisionDataset
from data_shards.readers.webdataset_tars import WebdatasetTars
from tests.data_shards.readers.files import tar_of
from tests.data_shards.readers.servers import s3


def holding(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return str(root)


def test_words_name_readers() -> None:
    assert source_from("photographs") == Photographs.Config()
    assert source_from("cifar10") == TorchvisionDataset.Config(dataset="cifar10")
    assert source_from("imagenette") == TorchvisionDataset.Config(dataset="imagenette")
    assert source_from("x-{00..12}.tar") == WebdatasetTars.Config(path="x-{00..12}.tar")
    assert source_from("pipe:cat x.tar") == WebdatasetTars.Config(path="pipe:cat x.tar")
    for word in ("x.txt", "x.CSV", "x.tsv.gz", "x-{0..9}.jsonl", "https://x/y.parquet?a=b", "s3://b/x-*.csv"):
        assert source_from(word) == ImageList.Config(path=word)
    for word in ("x.zip", "s3://b/{a,b}.zip"):
        assert source_from(word) == Archives.Config(path=word)


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
    root = holding(tmp_path / "f", "a.zip", "b.zip")
    assert source_from(root) == Archives.Config(path=root + "/*.zip")


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_tars_are_told_apart_by_their_members(tmp_path: Path, ending: str) -> None:
    samples = tar_of(tmp_path / f"a{ending}", {"cat/1.jpg": b"", "cat/1.cls": b"3"})
    assert source_from(samples) == WebdatasetTars.Config(path=samples)
    flat = tar_of(tmp_path / f"b{ending}", {"1.jpg": b"", "2.jpg": b""})
    assert source_from(flat) == WebdatasetTars.Config(path=flat)
    files = tar_of(tmp_path / f"c{ending}", {"cat/1.jpg": b"", "dog/1.jpg": b"", "readme.txt": b""})
    assert source_from(files) == Archives.Config(path=files)
    (tmp_path / f"d{ending}").write_bytes(b"no tar")
    broken = str(tmp_path / f"d{ending}")
    assert source_from(broken) == WebdatasetTars.Config(path=broken)


def test_urls_are_told_apart_by_their_ends_or_what_lies_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3(monkeypatch) as client:
        for key in ("a/train/x.jpg", "b/train/x.jpg", "b/val/x.jpg", "c/x.jpg"):
            client.put_object(Bucket="pictures", Key=key)
        client.upload_file(tar_of(tmp_path / "x.tar", {"a/1.jpg": b""}), "pictures", "x.tar")
        for holdout, url in ((0.2, "s3://pictures/a"), (0.0, "s3://pictures/b")):
            assert source_from(url, holdout=0.2) == ImageFolder.Config(path=url, holdout=holdout)
        assert source_from("s3://pictures/c") == ImageFolder.Config(path="s3://pictures/c")
        assert source_from("s3://pictures/x.tar") == Archives.Config(path="s3://pictures/x.tar")
        assert source_from("s3://pictures/none.tar") == WebdatasetTars.Config(path="s3://pictures/none.tar")


def test_nonsense_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere: there is no such folder; give a folder of pictures, a list"):
        source_from("nowhere")
    with pytest.raises(SourceError, match="is no folder of pictures, no list and no archive"):
        source_from(holding(tmp_path, "x.doc") + "/x.doc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no image file"):
        next(source_from(str(tmp_path / "empty")).build().entries())
