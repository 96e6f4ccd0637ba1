"""The quarantine shows what was rejected, and gives it back without trusting the names that came with it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from data_shards.errors import OutputError, ShardError
from data_shards.quarantined import Originals, export, extension_of, printable, rejected, show
from tests.data_shards.pictures import Listed, broken_jpeg, encode, jpeg, mixed, pixels
from tests.data_shards.shard_sets import pack_whole

HOSTILE = "../../etc/\x1b[31m\npasswd.jpg"


def test_each_rejected_image_is_read_as_it_was(tmp_path: Path) -> None:
    reader = mixed()
    manifest = pack_whole(tmp_path, reader)
    originals = Originals(tmp_path)
    entries = list(rejected(tmp_path))
    assert Counter(entry.reason for entry in entries) == manifest.reasons
    for entry in entries:
        assert entry.number is not None
        assert originals.read(entry) == reader.images[entry.number][3]
    originals.close()
    assert [entry.number for entry in rejected(tmp_path, "truncated")] == [5, 15, 25, 35]


def test_it_is_shown_by_reason_and_then_one_by_one(tmp_path: Path) -> None:
    pack_whole(tmp_path, mixed())
    lines = list(show(tmp_path, limit=3))
    assert lines[0] == f"{tmp_path}: 8 of 40 quarantined"
    assert [line.split() for line in lines[1:3]] == [["4", "not_an_image"], ["4", "truncated"]]
    assert lines[3] == r"3  3.jpg  not_an_image (begins with b'<html>')  6 bytes"
    assert [line.split()[0] for line in lines[4:6]] == ["5", "13"]
    assert lines[6] == "5 more; --limit 8 shows all"
    assert len(list(show(tmp_path, "truncated"))) == 3 + 4
    with pytest.raises(ShardError, match="nothing was quarantined as 'empty'; it holds not_an_image, truncated"):
        list(show(tmp_path, "empty"))


def test_a_set_without_rejected_images_has_an_empty_quarantine(tmp_path: Path) -> None:
    pack_whole(tmp_path / "set", Listed([("a", "train", None, jpeg(1))]))
    assert list(show(tmp_path / "set")) == [f"{tmp_path / 'set'}: 0 of 1 quarantined"]
    assert export(tmp_path / "set", tmp_path / "out") == (0, 0)


def test_originals_are_exported_under_names_of_their_own(tmp_path: Path) -> None:
    bad = [b"<html>", broken_jpeg(1), encode(pixels(2), "PNG")[:60], b"", b"\0\1\2\3"]
    rows = [(HOSTILE if n == 1 else f"{n}.jpg", "train", None, image) for n, image in enumerate(bad)]
    pack_whole(tmp_path / "set", Listed([*rows, ("good", "train", None, jpeg(1))]), max_bad=1.0)
    out = tmp_path / "out"
    assert export(tmp_path / "set", out) == (5, 0)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".jsonl"} == {
        "000000000-0.html": bad[0],
        "000000001-etc_31m_passwd.jpg": bad[1],
        "000000002-2.png": bad[2],
        "000000003-3.bin": bad[3],
        "000000004-4.bin": bad[4],
    }
    lines = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == [name for name, *_ in rows]
    assert all((out / line["file"]).read_bytes() == image for line, image in zip(lines, bad, strict=True))
    assert export(tmp_path / "set", tmp_path / "some", "empty") == (1, 0)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    pack_whole(tmp_path / "set", mixed())
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("kept")
    with pytest.raises(OutputError, match="is not empty; give an empty or a new folder"):
        export(tmp_path / "set", tmp_path / "out")
    with pytest.raises(OutputError, match="cannot be written"):
        export(tmp_path / "set", tmp_path / "out/mine/below")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_ledger_that_was_tampered_with_leads_nowhere(tmp_path: Path) -> None:
    pack_whole(tmp_path / "set", mixed())
    (tmp_path / "images-000000.tar").write_bytes((tmp_path / "set/quarantine/images-000000.tar").read_bytes())
    ledger = tmp_path / "set/quarantine/ledger.jsonl"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    lines[0]["tar"] = "../../images-000000.tar"
    lines[1]["tar"] = "images-000099.tar"
    lines[2]["member"] = "../x"
    lines[4]["number"] = lines[3]["number"]
    lines[4]["source"] = lines[3]["source"]
    ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert export(tmp_path / "set", tmp_path / "out") == (5, 3)
    exported = [json.loads(line) for line in (tmp_path / "out/ledger.jsonl").read_text().splitlines()]
    assert ["fault" in line for line in exported] == [True] * 3 + [False] * 5
    assert len(list((tmp_path / "out").iterdir())) == 6
    ledger.write_text("[]\n")
    with pytest.raises(ShardError, match="line 1 is damaged"):
        list(rejected(tmp_path / "set"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
def test_bytes_get_the_extension_of_their_format(format: str) -> None:
    extension = {"JPEG": "jpg", "TIFF": "tif"}.get(format, format.lower())
    try:
        image = encode(pixels(1), format)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {format}")
    assert extension_of(image) == extension


def test_what_a_terminal_would_obey_is_shown_as_text() -> None:
    assert printable(HOSTILE + "ü\udcff") == r"../../etc/\x1b[31m\npasswd.jpgü\udcff"
