"""What kind of file this is, by its first bytes: one that can be read, or a sentence on what it is instead.

torch         what torch.save writes since 1.6: a zip of a pickle and the tensors' bytes, which can be mapped
pickle        what it wrote before
safetensors   a head in JSON, then bytes
index         JSON that lists the safetensors or pickles of one network (`weight_map`)
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Literal

from pipeline.artifacts import WEIGHTS as SUFFIXES
from pipeline.errors import ArtifactError

Kind = Literal["torch", "pickle", "safetensors", "index"]
WEIGHTS = f"name a file of weights: {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
DAMAGED = "fetch it again"
LARGEST_HEAD = 100_000_000  # bytes, safetensors' own limit
LARGEST_PICKLE = 256 << 20  # bytes of structure beside the tensors; VISSL's take a few hundred thousand

_STRANGERS = (
    (b"version https://git-lfs", "is a pointer of git-lfs, not the file itself", "run `git lfs pull` where it lies"),
    (b"\x1f\x8b", "is a gzip archive", "unpack it first"),
    (b"\xfd7zXZ", "is an xz archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is a zstandard archive", "unpack it first"),
    (b"\x89HDF", "is an HDF5 file", "Keras weights are not read; " + WEIGHTS),
    (b"\x93NUMPY", "is a NumPy array", WEIGHTS),
    (b"\xff\xd8\xff", "is a JPEG image", WEIGHTS),
    (b"\x89PNG", "is a PNG image", WEIGHTS),
)


def kind_of(path: Path) -> Kind:
    """Which of the kinds a file is. Raises `ArtifactError` with what it is instead, or that it is cut off."""
    try:
        with path.open("rb") as file:
            first = file.read(512)
    except IsADirectoryError:
        raise ArtifactError(str(path), "is a folder", WEIGHTS) from None
    except OSError as error:
        raise ArtifactError(str(path), f"cannot be read ({error.strerror})", WEIGHTS) from None
    size = path.stat().st_size
    if not size:
        raise ArtifactError(str(path), "is empty", DAMAGED)
    for start, is_, right in _STRANGERS:
        if first.startswith(start):
            raise ArtifactError(str(path), is_, right)
    text = first.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")):
        raise ArtifactError(
            str(path), "is a web page, not weights", "its address may ask for a log-in or be gone: look at it"
        )
    if first.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return "torch"
    if first.startswith(b"PK"):
        raise ArtifactError(str(path), "is an empty or split zip archive", WEIGHTS)
    if first[:1] == b"\x80" and first[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    head = int.from_bytes(first[:8], "little")
    if text.startswith(b"{") and head > LARGEST_HEAD:
        return _index(path)
    if first[8:9] == b"{":
        if not 2 <= head <= LARGEST_HEAD or 8 + head > size:
            raise ArtifactError(str(path), f"is cut off or damaged: {size:,} bytes, less than its head says", DAMAGED)
        return "safetensors"
    raise ArtifactError(str(path), "holds no weights that are known here", WEIGHTS)


def check_sums(path: Path) -> None:
    """Raise `ArtifactError` where bytes in a zip are not those that torch.save wrote; other files have no sums.

    Reads the whole file. torch itself does not look at the sums of a file that it maps.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        wrong = " ".join(str(error).split())
    if wrong is not None:
        right = "fetch it again; if it was saved without sums (set_crc32_options), give its hash with sha256=…"
        raise ArtifactError(str(path), f"is damaged: {wrong} in it has not the sum that stands beside it", right)


def _check_zip(path: Path) -> None:
    """Raise `ArtifactError` for a zip that torch.save did not write: torch's reader would unpack what is compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        size = path.stat().st_size
        given = f"is cut off or damaged: {size:,} bytes ({' '.join(str(error).split())})"
        raise ArtifactError(str(path), given, DAMAGED) from None
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
        raise ArtifactError(
            str(path), "is a TorchScript program, which is not run here", "save its state_dict with torch.save"
        )
    pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
    if not pickles:
        raise ArtifactError(str(path), "is a zip archive without weights of torch", WEIGHTS)
    squeezed = [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED or e.file_size != e.compress_size]
    if squeezed:
        raise ArtifactError(
            str(path), f"is refused: {squeezed[0]} in it is compressed, which torch.save never does", WEIGHTS
        )
    if pickles[0].file_size > LARGEST_PICKLE:
        raise ArtifactError(
            str(path), f"is refused: {pickles[0].file_size:,} bytes in it are no tensors", "save its state_dict alone"
        )


def _index(path: Path) -> Kind:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("weight_map"), dict):
        raise ArtifactError(str(path), "is JSON that lists no weights", WEIGHTS)
    return "index"
