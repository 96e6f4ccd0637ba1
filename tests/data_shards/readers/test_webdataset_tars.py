"""Shards of someone else as input, compared with what the webdataset library reads in them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from data_shards.errors import SourceError
from data_shards.readers.webdataset_tars import WebdatasetTars
from tests.data_shards.readers.files import tar_of
from tests.data_shards.readers.servers import needs_nginx, nginx, s3


def build(path: Path | str, **settings: Any) -> WebdatasetTars:
    return WebdatasetTars.Config(path=str(path), **settings).build()


def test_what_its_shard_writer_writes_is_what_we_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    rng = random.Random(0)
    with webdataset.ShardWriter(f"{tmp_path}/x-%03d.tar", maxcount=7, verbose=0) as writer:
        for number in range(30):
            sample = {"__key__": f"{'folder/' if number % 2 else ''}{number:05d}", "jpg": rng.randbytes(number * 40)}
            writer.write(
                sample | ({"cls": number % 3} if number % 3 else {}) | {"json": {"n": number}, "txt": "a caption"}
            )
    expected = []
    for path in sorted(tmp_path.glob("*.tar")):
        with open(path, "rb") as stream:  # its own WebDataset would leave the tars open
            source = [{"url": str(path), "stream": stream}]
            for s in webdataset.tariterators.group_by_keys(webdataset.tariterators.tar_file_expander(source)):
                label = s["cls"].decode() if "cls" in s else None
                expected.append((s["jpg"], label, json.loads(s["json"]), f"{s['__key__']}.jpg"))
    reader = build(tmp_path / "x-{000..004}.tar")
    entries = list(reader.entries())
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(reader.read, entries))
    found = [(image, e.label, e.metadata, e.name.partition("/")[2]) for image, e in zip(images, entries, strict=True)]
    assert found == expected
    assert len(found) == 30


def test_labels_splits_and_compressed_tars_are_understood(tmp_path: Path) -> None:
    tar_of(tmp_path / "set-train-0.tar", [("a.jpg", b"1"), ("a.cls", b"10\n"), ("b.cls", b"2"), ("b.png", b"2")])
    tar_of(tmp_path / "set-val-0.tar.gz", [("c.jpg", b"3"), ("c.json", json.dumps({"label": "x"}).encode())])
    tar_of(
        tmp_path / "more.tar", [("d.txt", b"no image"), ("e.JPEG", b"4"), (".x.jpg", b"hidden"), ("e.seg.png", b"5")]
    )
    path = "::".join(str(tmp_path / name) for name in ("set-train-0.tar", "set-val-0.tar.gz", "more.tar"))
    reader = build(path, cache=str(tmp_path / "cache"))
    assert [(entry.name, entry.split, entry.label, reader.read(entry)) for entry in reader.entries()] == [
        ("set-train-0.tar/a.jpg", "train", "10", b"1"),
        ("set-train-0.tar/b.png", "train", "2", b"2"),
        ("set-val-0.tar.gz/c.jpg", "test", "x", b"3"),
        ("more.tar/e.JPEG", "train", None, b"4"),
    ]


def test_what_a_json_says_goes_on_without_what_is_written_anew(tmp_path: Path) -> None:
    facts = {"source": "a", "sha256": "b", "width": 3, "label": "cat", "caption": "a cat", "similarity": float("nan")}
    members = [
        ("a.jpg", b""),
        ("a.json", json.dumps(facts).encode()),
        ("b.jpg", b""),
        ("b.json", b"[1"),
        ("c.jpg", b""),
    ]
    path = tar_of(tmp_path / "x.tar", [*members, ("c.json", b"[]"), ("d.jpg", b""), ("d.json", b"[" * 99_999)])
    found = [(entry.label, entry.metadata) for entry in build(path).entries()]
    assert found == [("cat", {"caption": "a cat", "similarity": None}), (None, None), (None, None), (None, None)]
    chosen = next(build(path, metadata=("caption", "width", "none")).entries())
    assert chosen.metadata == {"caption": "a cat", "width": 3, "none": None}
    assert next(build(path, metadata=()).entries()).metadata is None


def test_a_key_with_two_images_of_one_kind_is_two_samples(tmp_path: Path) -> None:
    reader = build(tar_of(tmp_path / "x.tar", [("a.jpg", b"1"), ("a.jpg", b"2"), ("a.cls", b"7")]))
    assert [(reader.read(entry), entry.label) for entry in reader.entries()] == [(b"1", None), (b"2", "7")]


def test_where_there_is_a_test_set_a_validation_set_is_left_out(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        tar_of(tmp_path / split / "0.tar", [(f"{split}.jpg", b"")])
    reader = build(tmp_path / "*/0.tar")
    assert [(entry.name, entry.split) for entry in reader.entries()] == [
        ("test/0.tar/test.jpg", "test"),
        ("train/0.tar/train.jpg", "train"),
    ]


def test_the_output_of_a_command_is_a_tar(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar.gz", [("a.jpg", b"a" * 5000), ("a.cls", b"1")])
    reader = build(f"pipe:cat {path}", cache=str(tmp_path / "cache"))
    assert [(reader.read(entry), entry.label) for entry in reader.entries()] == [(b"a" * 5000, "1")]
    with pytest.raises(SourceError, match=r"pipe:cat none\.tar.*: cannot be read beyond byte 0"):
        list(build("pipe:cat none.tar 2>/dev/null", cache=str(tmp_path / "cache")).entries())


@needs_nginx
def test_tars_on_a_web_server_and_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        ending = ".tar.gz" if number == 2 else ".tar"
        tar_of(
            tmp_path / f"root/x-{number}{ending}", [(f"{number}.jpg", bytes([number]) * 9000), (f"{number}.cls", b"5")]
        )
    expected = [(bytes([number]) * 9000, "5") for number in range(3)]
    with nginx(tmp_path / "root", tmp_path) as address, s3(monkeypatch) as client:
        for path in (tmp_path / "root").iterdir():
            client.upload_file(str(path), "pictures", path.name)
        for path in ("x-{0..1}.tar::{}/x-2.tar.gz", "x-*.tar*"):
            for base in (address, f"{address}/unpacked", "s3://pictures"):
                if "*" in path and "unpacked" in base:  # what knows no ranges has no listing either
                    continue
                reader = build(f"{base}/{path}".replace("{}", base), cache=str(tmp_path / "cache"))
                assert [(reader.read(entry), entry.label) for entry in reader.entries()] == expected
        with pytest.raises(SourceError, match=r"x-9\.tar: cannot be read \(there is no such file"):
            list(build(f"{address}/x-9.tar", cache=str(tmp_path / "cache")).entries())


def test_missing_cut_off_and_empty_tars_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"x-1\.tar: there is no such tar"):
        build(tmp_path / "x-{1..2}.tar")
    with pytest.raises(SourceError, match="there is no such tar"):
        build(tmp_path / "*.tar")
    (tmp_path / "no.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(SourceError, match=r"no\.tar: cannot be read as a tar \(no tar header at byte 0\)"):
        list(build(tmp_path / "no.tar").entries())
    with pytest.raises(SourceError, match=r"holds no image"):
        list(build(tar_of(tmp_path / "text.tar", [("a.txt", b"text")])).entries())
    path = Path(tar_of(tmp_path / "cut.tar", [("a.jpg", bytes(3000)), ("b.jpg", bytes(3000))]))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        SourceError, match=r"cut\.tar: cannot be read as a tar \(cut off inside the member at byte 4096\)"
    ):
        list(build(path).entries())


def test_listing_imports_neither_webdataset_nor_torch(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x-0.tar", [("a.jpg", b"x")])
    code = f"""
import sys
from data_shards.readers import source_from
reader = source_from({path.replace("x-0", "x-{0..0}")!r}).build()
assert [reader.read(entry) for entry in reader.entries()] == [b"x"]
sys.exit(not {{"torch", "webdataset", "fsspec", "pyarrow"}}.isdisjoint(sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
