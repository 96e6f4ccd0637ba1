"""What is no file of weights is told by its first bytes, in a sentence that says what it is instead."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import ArtifactError
from pipeline.released.readers.kinds import kind_of


def test_each_kind_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    weights = {"x": torch.ones(3)}
    torch.save(weights, tmp_path / "a.safetensors")
    torch.save(weights, tmp_path / "b", _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / "c.pth")
    (tmp_path / "d").write_text(json.dumps({"metadata": {}, "weight_map": {"x": "part"}}))
    assert [kind_of(path) for path in sorted(tmp_path.iterdir())] == ["torch", "pickle", "safetensors", "index"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>Sign in</title>", "is a web page, not weights; its address may ask for a log-in"),
        (b"\n  <html>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a pointer of git-lfs"),
        (gzip.compress(b"x"), "is a gzip archive; unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"\xff\xd8\xff\xe0", "is a JPEG image"),
        (b'{"model_type": "regnet"}', "is JSON that lists no weights"),
        (b"{" * 3000, "is JSON that lists no weights"),
        (b"weights, really", "holds no weights that are known here"),
        ((200).to_bytes(8, "little") + b'{"x":', "is cut off or damaged: 13 bytes"),
        ((1 << 62).to_bytes(8, "little") + b'{"x":', "is cut off or damaged"),
        (b"PK\x05\x06" + bytes(18), "is an empty or split zip archive"),
        (b"PK\x03\x04" + bytes(40), "is cut off or damaged: 44 bytes"),
    ],
)
def test_what_is_none_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(ArtifactError, match=says):
        kind_of(tmp_path / "f")


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a folder"):
        kind_of(tmp_path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        kind_of(tmp_path / "x")


def archive(path: Path, how: int, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in entries.items():
            file.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return path


def test_a_zip_that_unpacks_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"x": torch.zeros(1000)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    with pytest.raises(ArtifactError, match=r"is refused: .*data.pkl in it is compressed"):
        kind_of(tmp_path / "bomb.pth")


def test_other_zips_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a zip archive without weights"):
        kind_of(archive(tmp_path / "a.zip", zipfile.ZIP_STORED, picture_dot_jpg=b"x"))
    script = dict.fromkeys(("m__constants_dot_pkl", "m__code__net_dot_py", "m__data_dot_pkl"), b"")
    with pytest.raises(ArtifactError, match="is a TorchScript program, which is not run here"):
        kind_of(archive(tmp_path / "s.pt", zipfile.ZIP_STORED, **script))


def test_more_structure_than_any_network_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"x": torch.zeros(1), "log": "x" * 5000}, tmp_path / "a.pth")
    monkeypatch.setattr("pipeline.released.readers.kinds.LARGEST_PICKLE", 4000)
    with pytest.raises(ArtifactError, match="bytes in it are no tensors; save its state_dict alone"):
        kind_of(tmp_path / "a.pth")
