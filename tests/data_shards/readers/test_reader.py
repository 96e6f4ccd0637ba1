"""What all readers have in common."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from data_shards.errors import ImageError
from data_shards.readers import Reader, reader, reader_from
from data_shards.readers.archives import Archives
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.image_list import ImageList
from data_shards.readers.photographs import Photographs
from data_shards.readers.reader import Entry, held_out, read_file, sort_classes
from data_shards.readers.webdataset_tars import WebdatasetTars
from tests.data_shards.readers.files import folder_of, tar_of, zip_of

FILES = {"cat/1.jpg": b"one", "dog/2.jpg": b"two", "dog/3.jpg": b"three"}


def image_folder(at: Path) -> Reader:
    return ImageFolder.Config(path=folder_of(at / "f", FILES), holdout=0.3).build()


def image_list(at: Path) -> Reader:
    folder_of(at, {**FILES, "x.csv": b"path,n\ncat/1.jpg,1\ndog/2.jpg,2\n"})
    return ImageList.Config(path=str(at / "x.csv"), metadata=("n",)).build()


def tar_archive(at: Path) -> Reader:
    return Archives.Config(path=tar_of(at / "x.tar.gz", FILES), cache=str(at / "cache")).build()


def zip_archive(at: Path) -> Reader:
    return Archives.Config(path=zip_of(at / "x.zip", FILES)).build()


def webdataset(at: Path) -> Reader:
    members = {"1.jpg": b"one", "1.json": b'{"label": 3, "k": [1]}', "2.png": b"two", "2.cls": b"4"}
    return WebdatasetTars.Config(path=tar_of(at / "x.tar", members)).build()


def photographs(at: Path) -> Reader:
    return Photographs.Config(only=("moon", "brick"), train=2, test=1).build()


KINDS = [image_folder, image_list, tar_archive, zip_archive, webdataset, photographs]


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_lists_the_same_twice_and_is_rebuilt_from_its_config(
    kind: Callable[[Path], Reader], tmp_path: Path
) -> None:
    reader = kind(tmp_path)
    entries = list(reader.entries())
    assert entries == list(reader.entries())
    assert len(entries) >= 2
    again = reader_from(json.loads(json.dumps(asdict(reader.config))))
    assert (type(again), again.config, again.title, again.waits) == (type(reader), reader.config, reader.title, False)
    assert again.describe() == reader.describe()
    json.dumps(reader.describe(), allow_nan=False)
    for mine, entry in zip(entries, again.entries(), strict=True):
        passed_on = Entry(*json.loads(json.dumps(mine, allow_nan=False)))
        assert json.dumps(passed_on) == json.dumps(entry)
        assert again.read(passed_on) == reader.read(mine)


def test_classes_that_are_numbers_sort_as_numbers_and_always_alike() -> None:
    labels = ["10", "9", "b", "1", "01", "a", "²"]
    for order in itertools.permutations(labels):
        assert sort_classes(order) == ("01", "1", "9", "10", "a", "b", "²")


def test_a_share_is_held_out_by_name() -> None:
    names = [f"{n}.jpg" for n in range(2000)]
    assert not any(held_out(name, 0) for name in names)
    few, many = ({name for name in names if held_out(name, share)} for share in (0.1, 0.3))
    assert few < many
    assert 150 < len(few) < 250
    assert held_out("\udcff.jpg", 0.999999)


def test_a_file_is_read_whole_also_by_a_system_that_gives_less_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 40
    (tmp_path / "x").write_bytes(content)
    assert read_file(str(tmp_path / "x")) == content
    read = os.read
    monkeypatch.setattr("data_shards.readers.reader.os.read", lambda file, size: read(file, min(size, 999)))
    assert read_file(str(tmp_path / "x")) == content
    (tmp_path / "empty").touch()
    assert read_file(str(tmp_path / "empty")) == b""


def test_a_file_that_is_far_too_large_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_BYTES", 10)
    (tmp_path / "x").write_bytes(bytes(11))
    with pytest.raises(ImageError, match="too_many_bytes: 11, the limit is 10"):
        read_file(str(tmp_path / "x"))
