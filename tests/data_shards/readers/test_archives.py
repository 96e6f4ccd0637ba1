"""Image files inside tars and zips."""

from __future__ import annotations

import io
import random
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from data_shards.errors import ImageError, SourceError
from data_shards.readers import spool
from data_shards.readers.archives import Archives
from data_shards.readers.image_folder import ImageFolder
from tests.data_shards.readers.files import folder_of, tar_of, zip_of
from tests.data_shards.readers.servers import s3

FORMATS = ["x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz", "x.zip"]


def archive_of(path: Path, files: dict[str, bytes]) -> str:
    return zip_of(path, files) if path.suffix == ".zip" else tar_of(path, files)


def build(path: Path | str, **settings: Any) -> Archives:
    return Archives.Config(**{"path": str(path), "cache": str(Path(path).parent / "cache"), **settings}).build()


def listed(reader: Archives) -> list[tuple[str, str, str | None]]:
    return [(entry.name, entry.split, entry.label) for entry in reader.entries()]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "b.PNG", "notes.txt", ".hidden.jpg", "__MACOSX/x.jpg"],
        ["cat/1.jpg", "dog/deep/2.jpg", "loose.jpg"],
        ["train/cat/1.jpg", "test/dog/1.jpg", "val/cat/2.jpg", "elsewhere/3.jpg", "train/4.jpg"],
        ["train/cat/1.jpg", "val/cat/2.jpg", "5.jpg"],
    ],
)
def test_an_archive_is_listed_like_the_folder_it_holds(tmp_path: Path, name: str, names: list[str]) -> None:
    files = {path: path.encode() * 50 for path in names}
    folder = ImageFolder.Config(path=folder_of(tmp_path / "folder", files)).build()
    expected = {f"{name}/{entry.name}": (entry.split, entry.label, folder.read(entry)) for entry in folder.entries()}
    reader = build(archive_of(tmp_path / name, files))
    assert {e.name: (e.split, e.label, reader.read(e)) for e in reader.entries()} == expected


def test_a_folder_that_everything_lies_in_does_not_count(tmp_path: Path) -> None:
    one = build(tar_of(tmp_path / "one.tar", {"set/cat/1.jpg": b"", "./set/dog/2.jpg": b"", "set/readme.txt": b""}))
    assert [label for _, _, label in listed(one)] == ["cat", "dog"]
    splits = build(tar_of(tmp_path / "two.tar", {"set/train/cat/1.jpg": b"", "set/val/dog/2.jpg": b""}))
    assert [row[1:] for row in listed(splits)] == [("train", "cat"), ("test", "dog")]
    for label in ("cat", "dog"):
        tar_of(tmp_path / f"each/{label}.tar", {f"{label}/1.jpg": b""})
    assert [label for _, _, label in listed(build(tmp_path / "each/*.tar"))] == ["cat", "dog"]


def test_the_name_of_an_archive_is_its_split_or_its_label(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        zip_of(tmp_path / f"{split}.zip", {"cat/1.jpg": b"", "dog/2.jpg": b""})
    found = {row[1:] for row in listed(build(tmp_path / "*.zip"))}
    assert found == {("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog")}
    assert all(not row[0].startswith("val") for row in listed(build(tmp_path / "*.zip")))
    for label in ("n01440764", "n01443537"):
        tar_of(tmp_path / f"{label}.tar.gz", {f"{label}_1.JPEG": b""})
    assert [row[2] for row in listed(build(tmp_path / "n*.tar.gz", labels="archive"))] == ["n01440764", "n01443537"]
    assert {row[2] for row in listed(build(tmp_path / "train.zip", labels="none"))} == {None}


def test_archives_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        tar_of(tmp_path / folder / "0.tar", {"x.jpg": folder.encode()})
    reader = build(tmp_path / "*" / "0.tar")
    assert [(entry.name, reader.read(entry)) for entry in reader.entries()] == [
        ("a/0.tar/x.jpg", b"a"),
        ("b/0.tar/x.jpg", b"b"),
    ]


@pytest.mark.parametrize("kind", ["x.tar", "x.zip"])
def test_paths_that_lead_elsewhere_are_only_names(tmp_path: Path, kind: str) -> None:
    names = ["/etc/1.jpg", "../../2.jpg", "a/../../3.jpg", "with space\n.jpg", "./4.jpg", "ü/5.jpg"]
    reader = build(archive_of(tmp_path / kind, {name: name.encode() for name in names}))
    entries = list(reader.entries())
    assert [reader.read(entry) for entry in entries] == [name.encode() for name in names]
    inside = ["etc/1.jpg", "2.jpg", "a/3.jpg", "with space\n.jpg", "4.jpg", "ü/5.jpg"]
    assert [entry.name for entry in entries] == [f"{kind}/{name}" for name in inside]
    assert list(tmp_path.rglob("*")) == [tmp_path / kind]
    assert not any((folder / f"{n}.jpg").exists() for folder in tmp_path.parents for n in (1, 2, 3))


def test_a_member_that_is_there_twice_is_two_images(tmp_path: Path) -> None:
    reader = build(tar_of(tmp_path / "x.tar", [("a.jpg", b"old"), ("a.jpg", b"new")]))
    assert [reader.read(entry) for entry in reader.entries()] == [b"old", b"new"]


def test_names_that_are_no_text_and_links(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo("\udcff.jpg")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    reader = build(tmp_path / "x.tar")
    assert [(entry.name, reader.read(entry)) for entry in reader.entries()] == [("x.tar/\udcff.jpg", b"x")]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_members_of_a_zip_are_read_as_zipfile_reads_them(tmp_path: Path, method: int) -> None:
    rng = random.Random(0)
    files = {f"{n}.jpg": rng.randbytes(rng.randint(0, 3000)) + bytes(n * 100) for n in range(60)}
    path = Path(zip_of(tmp_path / "x.zip", files, method))
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())  # a zip may begin with something else
    reader = build(path)
    with zipfile.ZipFile(path) as archive, ThreadPoolExecutor(8) as pool:
        entries = list(reader.entries())
        expected = [archive.read(entry.name.removeprefix("x.zip/")) for entry in entries]
        assert list(pool.map(reader.read, entries)) == expected
        assert expected == list(files.values())


def test_bad_members_of_a_zip_are_single_bad_images(tmp_path: Path) -> None:
    files = {f"{n}.jpg": random.Random(n).randbytes(2000) for n in range(5)}
    path = Path(zip_of(tmp_path / "x.zip", files))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = {info.filename: info.header_offset for info in archive.infolist()}
        central = {name: content.index(b"PK\1\2", content.index(b"PK\1\2") + 51 * n) for n, name in enumerate(at)}
    content[at["1.jpg"] + 300] ^= 0xFF  # its bytes
    content[at["2.jpg"]] ^= 0xFF  # its own header
    content[central["3.jpg"] + 8] |= 1  # the flag of a password
    content[central["4.jpg"] + 24 : central["4.jpg"] + 28] = b"\xff\xff\xff\x7f"  # it promises 2 GB
    path.write_bytes(content)
    reader = build(path)
    reasons = []
    for entry in reader.entries():
        try:
            reasons.append("good" if reader.read(entry) == files[entry.name.removeprefix("x.zip/")] else "wrong")
        except ImageError as error:
            reasons.append(error.reason)
    assert reasons == ["good", "unpackable", "unpackable", "encrypted", "unpackable"]


def test_what_cannot_be_listed_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.zip: there is no such archive"):
        build(tmp_path / "none.zip")
    with pytest.raises(SourceError, match=r"holds no image file; give archives that hold some \(\.avif"):
        list(build(zip_of(tmp_path / "a.zip", {"a.txt": b""})).entries())
    (tmp_path / "b.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(SourceError, match=r"b\.zip: cannot be listed \(File is not a zip file\)"):
        list(build(tmp_path / "b.zip").entries())
    (tmp_path / "c.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(SourceError, match=r"c\.tar: cannot be listed \(no tar header at byte 0\)"):
        list(build(tmp_path / "c.tar").entries())
    whole = Path(tar_of(tmp_path / "d.tar.gz", {"a.jpg": random.Random(0).randbytes(50_000)})).read_bytes()
    (tmp_path / "d.tar.gz").write_bytes(whole[:20_000])
    with pytest.raises(SourceError, match=r"d\.tar\.gz: cannot be read beyond byte \d+ \(Compressed file ended"):
        list(build(tmp_path / "d.tar.gz").entries())
    with pytest.raises(SourceError, match=r"pipe:cat x: is a command; give its output as a file"):
        list(build("pipe:cat x", cache=str(tmp_path)).entries())


def test_mutated_zips_give_images_or_sentences(tmp_path: Path) -> None:
    files = {f"{n}/{n}.jpg": random.Random(n).randbytes(200) for n in range(4)}
    whole = Path(zip_of(tmp_path / "x.zip", files)).read_bytes()
    rng = random.Random(1)
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            content[rng.choice([rng.randrange(len(content)), rng.randrange(len(content) - 250, len(content))])] = (
                rng.randrange(256)
            )
        (tmp_path / "x.zip").write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        try:
            reader = build(tmp_path / "x.zip")
            for entry in reader.entries():
                try:
                    reader.read(entry)
                except (ImageError, OSError):
                    continue
        except SourceError:
            continue


def test_an_archive_in_a_bucket_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"cat/{n}.jpg": bytes([n]) * 500 for n in range(40)}
    for name in ("x.zip", "x.tar", "y.tar.gz"):
        archive_of(tmp_path / name, files)
    with s3(monkeypatch) as client:
        for name in ("x.zip", "x.tar", "y.tar.gz"):
            client.upload_file(str(tmp_path / name), "pictures", f"deep/{name}")
        gets: list[str] = []
        fetch = spool._fetch
        monkeypatch.setattr(spool, "_fetch", lambda archive, *rest: (gets.append(archive), fetch(archive, *rest)))
        for name in ("x.zip", "*.tar", "y.tar.gz"):
            config = Archives.Config(path=f"s3://pictures/deep/{name}", cache=str(tmp_path / "cache"))
            entries = list(config.build().entries())
            start = threading.Barrier(8)
            reader = config.build()

            def read(number: int) -> list[bytes]:
                start.wait()  # noqa: B023
                return [reader.read(entry) for entry in entries[number::8]]  # noqa: B023

            with ThreadPoolExecutor(8) as pool:
                found = dict(zip(range(8), pool.map(read, range(8)), strict=True))
            assert [found[n % 8][n // 8] for n in range(40)] == list(files.values())
        assert gets == [f"s3://pictures/deep/{name}" for name in ("x.zip", "x.tar", "y.tar.gz")]
        with pytest.raises(SourceError, match=r"none\.zip: cannot be read \(there is no such file"):
            list(Archives.Config(path="s3://pictures/none.zip", cache=str(tmp_path)).build().entries())
