"""Anyone's WebDataset tars, compared with the webdataset library."""

from __future__ import annotations

import io
import json
import os
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_shards.errors import ShardError, UserError
from data_shards.reading import plain_tars
from data_shards.reading.cache import CacheSettings
from data_shards.stream import ShardSet
from tests.data_shards.pictures import encode, jpeg, pixels
from tests.data_shards.readers.servers import s3
from tests.data_shards.servers import Files, files


def write(path: Path, members: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(first: int, count: int) -> list[tuple[str, bytes]]:
    members = []
    for number in range(first, first + count):
        members += [(f"{number:04d}.jpg", jpeg(number)), (f"{number:04d}.cls", b"%d" % (number % 3))]
    return members


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tars of training images, and one of test images with labels in JSON."""
    write(tmp_path / "tars" / "train-0.tar", samples(0, 5))
    write(tmp_path / "tars" / "train-1.tar", samples(5, 3), tarfile.GNU_FORMAT)
    test = [("a.png", encode(pixels(50), "PNG")), ("a.json", json.dumps({"label": 6}).encode())]
    write(tmp_path / "tars" / "test.tar", [*test, ("b.png", encode(pixels(51), "PNG")), ("b.json", b"{}")])
    return tmp_path / "tars"


@pytest.fixture
def settings(tmp_path: Path) -> CacheSettings:
    return CacheSettings(folder=str(tmp_path / "cache"), patience=5)


@pytest.fixture
def server(folder: Path) -> Iterator[Files]:
    with files(folder) as server:
        yield server


def by_webdataset(*tars: Path) -> list[tuple[str, bytes, int]]:
    """Key, image and class of all samples with a `.jpg`."""
    from webdataset import WebDataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(WebDataset([str(tar) for tar in tars], shardshuffle=False, empty_check=False))
    return [(s["__key__"], s["jpg"], int(s["cls"])) for s in found if "jpg" in s]


def by_us(shard_set: ShardSet) -> list[tuple[str, bytes, int]]:
    labels = shard_set.labels().tolist()
    places = [(shard, sample) for shard, count in enumerate(shard_set.counts.tolist()) for sample in range(count)]
    return [(shard_set.key(*place), shard_set.read(*place), label) for place, label in zip(places, labels, strict=True)]


def test_a_folder_of_tars_is_a_shard_set(folder: Path, settings: CacheSettings) -> None:
    train = ShardSet(folder, cache=settings)
    assert by_us(train) == by_webdataset(folder / "train-0.tar", folder / "train-1.tar")
    assert (train.samples, train.counts.tolist(), train.classes) == (8, [5, 3], ("0", "1", "2"))
    assert [shard.first_index for shard in train.shards] == [0, 5]
    test = ShardSet(folder, "test", cache=settings)
    assert test.labels().tolist() == [6, -1]
    assert test.image(1) == encode(pixels(51), "PNG")
    assert len(test.classes) == 7
    assert train.manifest.root == ShardSet(folder, cache=settings).manifest.root == test.manifest.root


def test_patterns_name_tars_and_their_order(folder: Path, settings: CacheSettings) -> None:
    for pattern in (
        f"{folder}/train-{{0..1}}.tar",
        f"{folder}/train-*.tar",
        f"{folder}/train-0.tar::{folder}/train-1.tar",
    ):
        assert by_us(ShardSet(pattern, cache=settings)) == by_webdataset(folder / "train-0.tar", folder / "train-1.tar")
    turned = ShardSet(f"{folder}/train-{{1..0}}.tar", cache=settings)
    assert by_us(turned) == by_webdataset(folder / "train-1.tar", folder / "train-0.tar")
    with pytest.raises(UserError, match=r"train-2\.tar: there is no such tar"):
        ShardSet(f"{folder}/train-{{0..2}}.tar", cache=settings)


def test_what_others_put_into_tars_is_read_as_webdataset_reads_it(tmp_path: Path, settings: CacheSettings) -> None:
    members = [
        ("README", b"no sample"),
        ("with space/a b.jpg", jpeg(1)),
        ("with space/a b.cls", b"1"),
        ("x" * 120 + ".jpg", jpeg(2)),
        ("x" * 120 + ".cls", b"2"),
        (".hidden.jpg", b"no sample"),
        ("folder.d/c.cls", b"0"),
        ("folder.d/c.jpg", jpeg(3)),
        ("\xe4.jpg", jpeg(4)),
        ("\xe4.cls", b"5"),
        ("text.txt", b"no image"),
    ]
    for number, form in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        tar = write(tmp_path / str(number) / "odd.tar", members, form)
        for _ in range(2):  # from the headers, and from the index beside
            assert by_us(ShardSet(tar.parent, cache=settings)) == by_webdataset(tar)


def test_the_index_lies_beside_the_tar_and_is_made_anew_when_that_changes(
    folder: Path, settings: CacheSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ShardSet(folder, cache=settings)
    kept = (folder / "train-0.idx").read_bytes()
    assert kept.startswith(b"v1.2 5\njpg 512 ")
    assert not Path(settings.folder, "indices").exists()
    walked: list[Path] = []
    walk = plain_tars.samples_in
    monkeypatch.setattr(plain_tars, "samples_in", lambda tar: walked.append(tar) or walk(tar))
    ShardSet(folder, cache=settings).labels()
    assert walked == []
    write(folder / "train-0.tar", samples(20, 6))
    os.utime(folder / "train-0.idx", ns=(0, 0))  # clocks of file systems are coarse
    after = ShardSet(folder, cache=settings)
    assert walked == [folder / "train-0.tar"]
    assert (folder / "train-0.idx").read_bytes() != kept
    assert by_us(after) == by_webdataset(folder / "train-0.tar", folder / "train-1.tar")
    assert after.manifest.root != before.manifest.root
    with pytest.raises(ShardError, match=r"train-0\.tar: has changed since the run began"):
        before.read(0, 0)


def test_an_index_that_cannot_lie_beside_the_tar_lies_in_the_cache(
    folder: Path, settings: CacheSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = plain_tars._keep
    monkeypatch.setattr(plain_tars, "_keep", lambda path, text: path.parent != folder and keep(path, text))
    expected = by_us(ShardSet(folder, cache=settings))
    assert list(folder.glob("*.idx")) == []
    assert len(list(Path(settings.folder, "indices").iterdir())) == 3
    walked: list[Path] = []
    monkeypatch.setattr(plain_tars, "samples_in", walked.append)
    assert by_us(ShardSet(folder, cache=settings)) == expected
    assert walked == []


def test_an_index_is_not_kept_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not plain_tars._keep(tmp_path / "file" / "x.idx", b"text")
    (tmp_path / "x.idx").mkdir()
    assert not plain_tars._keep(tmp_path / "x.idx", b"text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "x.idx"], "nothing half-written stays"


def test_tars_at_a_url_are_indexed_from_the_cache(folder: Path, server: Files, settings: CacheSettings) -> None:
    where = f"{server.url}/train-{{0..1}}.tar"
    train = ShardSet(where, cache=settings)
    expected = by_webdataset(folder / "train-0.tar", folder / "train-1.tar")
    assert by_us(train) == expected
    assert server.seen == {"train-0.tar": 1, "train-1.tar": 1}
    train.close()
    again = ShardSet(where, cache=settings)
    assert by_us(again) == expected
    assert again.statistics().bytes == 0
    again.close()
    write(folder / "train-0.tar", samples(30, 9))
    changed = ShardSet(where, cache=settings)
    assert by_us(changed) == by_webdataset(folder / "train-0.tar", folder / "train-1.tar")
    assert changed.manifest.root != train.manifest.root
    changed.close()


def test_an_index_beside_a_tar_at_a_url_spares_fetching_it(
    folder: Path, server: Files, settings: CacheSettings
) -> None:
    by_us(ShardSet(folder, cache=settings))  # leaves the indices
    train = ShardSet(f"{server.url}/train-{{0..1}}.tar", cache=settings)
    assert (train.samples, server.seen["train-0.tar"]) == (8, 0)
    assert train.image(6) == jpeg(6)
    assert (server.seen["train-0.tar"], server.seen["train-1.tar"]) == (0, 1)
    train.close()
    (folder / "train-0.idx").write_bytes((folder / "train-0.idx").read_bytes().replace(b"jpg 512 ", b"jpg 513 "))
    wrong = ShardSet(f"{server.url}/train-0.tar", cache=CacheSettings(folder=settings.folder + "2"))
    with pytest.raises(ShardError, match=r"train-0\.idx: describes 5 samples .*, and not those in the tar"):
        wrong.image(0)
    wrong.close()


def test_a_prefix_in_s3_is_a_shard_set(folder: Path, settings: CacheSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3(monkeypatch) as client:
        for tar in folder.glob("*.tar"):
            client.upload_file(str(tar), "pictures", f"some/where/{tar.name}")
        train = ShardSet("s3://pictures/some", cache=settings)
        assert by_us(train) == by_webdataset(folder / "train-0.tar", folder / "train-1.tar")
        assert ShardSet("s3://pictures/some/where/test.tar", "test", cache=settings).samples == 2
        train.close()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([("a.txt", b"text")], r"x\.tar: holds no image; leave it out"),
        (b"no tar" * 1000, r"x\.tar: cannot be indexed \(no tar header at byte 0\); copy it again"),
        (b"\x1f\x8b" + bytes(2000), r"x\.tar: cannot be indexed \(.*a packed one has to be unpacked"),
        ("cut", r"x\.tar: cannot be indexed \(cut off at byte 20000\)"),
    ],
)
def test_tars_that_cannot_be_used_are_named(
    content: Any, sentence: str, tmp_path: Path, settings: CacheSettings
) -> None:
    tar = tmp_path / "x.tar"
    if isinstance(content, bytes):
        tar.write_bytes(content)
    else:
        write(tar, samples(0, 30) if content == "cut" else content)
    if content == "cut":
        os.truncate(tar, 20_000)
    with pytest.raises(ShardError, match=sentence):
        ShardSet(tmp_path, cache=settings)


def test_a_folder_without_tars_or_with_unfinished_shards_is_a_sentence(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match=r"empty: holds no manifest\.json; give the directory that `shard` wrote"):
        ShardSet(tmp_path / "empty")
    (folder / ".packing").mkdir()
    with pytest.raises(ShardError, match="not finished; run the same `shard` command again"):
        ShardSet(folder)
