"""Shards of someone else as input."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from data_shards.errors import SourceError
from data_shards.readers.webdataset_tars import WebdatasetTars
from data_shards.stream import ShardSet
from tests.data_shards.pictures import jpeg, listed, pack_into


def write(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_our_own_shards_can_be_packed_again(tmp_path: Path) -> None:
    pack_into(tmp_path / "a", listed(10, test=3), samples_per_shard=4)
    reader = WebdatasetTars.Config(path=str(tmp_path / "a/{train,test}-*.tar")).build()
    pack_into(tmp_path / "b", reader, samples_per_shard=100)
    for split in ("train", "test"):
        before, after = ShardSet(tmp_path / "a", split), ShardSet(tmp_path / "b", split)
        assert [before.image(i) for i in range(before.samples)] == [after.image(i) for i in range(after.samples)]
        assert before.labels().tolist() == after.labels().tolist()
    assert before.classes == after.classes == ("class0", "class1", "class2")


def test_labels_splits_and_compressed_tars_are_understood(tmp_path: Path) -> None:
    write(tmp_path / "set-train-0.tar", [("a.jpg", jpeg(1)), ("a.cls", b"10\n"), ("b.cls", b"2"), ("b.png", jpeg(2))])
    write(tmp_path / "set-val-0.tar.gz", [("c.jpg", jpeg(3)), ("c.json", json.dumps({"label": "x"}).encode())])
    write(tmp_path / "more.tar", [("d.txt", b"no image"), ("e.jpeg", jpeg(4))])
    path = "::".join(str(tmp_path / name) for name in ("set-train-0.tar", "set-val-0.tar.gz", "more.tar"))
    reader = WebdatasetTars.Config(path=path).build()
    found = [(entry.name, entry.split, entry.label, reader.read(entry)) for entry in reader.entries()]
    assert found == [
        ("set-train-0.tar/a.jpg", "train", "10", jpeg(1)),
        ("set-train-0.tar/b.png", "train", "2", jpeg(2)),
        ("set-val-0.tar.gz/c.jpg", "test", "x", jpeg(3)),
        ("more.tar/e.jpeg", "train", None, jpeg(4)),
    ]
    assert reader.survey().classes == ("2", "10", "x")


def test_where_there_is_a_test_set_a_validation_set_is_left_out(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        write(tmp_path / split / "0.tar", [(f"{split}.jpg", jpeg(1))])
    reader = WebdatasetTars.Config(path=str(tmp_path / "*/0.tar")).build()
    assert sorted((entry.name, entry.split) for entry in reader.entries()) == [
        ("0.tar/test.jpg", "test"),
        ("0.tar/train.jpg", "train"),
    ]


def test_missing_cut_off_and_empty_tars_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"x-1\.tar: there is no such tar"):
        WebdatasetTars.Config(path=str(tmp_path / "x-{1..2}.tar")).build()
    with pytest.raises(SourceError, match="there is no such tar"):
        WebdatasetTars.Config(path=str(tmp_path / "*.tar")).build()
    (tmp_path / "no.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(SourceError, match=r"no\.tar: cannot be read as a tar"):
        WebdatasetTars.Config(path=str(tmp_path / "no.tar")).build().survey()
    write(tmp_path / "text.tar", [("a.txt", b"text")])
    with pytest.raises(SourceError, match=r"holds no image"):
        WebdatasetTars.Config(path=str(tmp_path / "text.tar")).build().survey()
    write(tmp_path / "cut.tar", [("a.jpg", jpeg(1, 300, 300)), ("b.jpg", jpeg(2, 300, 300))])
    (tmp_path / "cut.tar").write_bytes((tmp_path / "cut.tar").read_bytes()[:3000])
    with pytest.raises(SourceError, match=r"cut\.tar: cannot be read as a tar"):
        WebdatasetTars.Config(path=str(tmp_path / "cut.tar")).build().survey()
