"""Whether a checkpoint is as it was written: every file's size and sha256; on request every tensor. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.checkpoints.content import DTYPES, MODULUS, root
from pipeline.checkpoints.manifest import MANIFEST, TENSORS, DamageError, Saved, read_manifest

THREADS = 4


def verify(path: Path, *, deep: bool = False) -> list[str]:
    """What is wrong with a checkpoint, in sentences: a file missing or changed, a manifest not as written.

    `deep` also computes the hash of every tensor anew and compares it with the root. Empty when it is whole.
    """
    try:
        files = read_manifest(path)["files"]
    except DamageError as error:
        return [str(error)]
    found = faults_of(path, files, files)
    return found or (_faults_of_tensors(path) if deep else [])


def faults_of(path: Path, files: dict[str, dict[str, Any]], names: Iterable[str]) -> list[str]:
    """What is wrong with some of the files that a manifest lists: missing ones, or else changed ones."""
    names = sorted(names)
    missing = [f"{name} is missing" for name in names if not (path / name).is_file()]
    if missing:
        return missing
    cut = [name for name in names if (path / name).stat().st_size != files[name]["bytes"]]
    if cut:
        return [f"{name} has changed: {(path / name).stat().st_size} bytes, not {files[name]['bytes']}" for name in cut]
    with ThreadPoolExecutor(min(THREADS, len(names) or 1)) as pool:
        hashes = pool.map(lambda name: _sha256(path / name), names)
        found = zip(names, hashes, strict=True)
        return [f"{name} {fault or 'has changed'}" for name, (hash_, fault) in found if hash_ != files[name]["sha256"]]


def _sha256(path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"


def index_of(path: Path) -> dict[str, Any]:
    """The content of tensors.json: `parts`, `tensors`, `values`."""
    index: dict[str, Any] = json.loads((path / TENSORS).read_text(encoding="utf-8"))
    return index


def _faults_of_tensors(path: Path) -> list[str]:
    from pipeline.checkpoints.rows import sum_of_rows

    saved = Saved.load(path)
    if not saved.root:
        return [f"{MANIFEST} has the first format, which holds no hash over tensors"]
    index = index_of(path)
    sums: dict[str, int] = defaultdict(int)
    for name, facts in index["tensors"].items():
        for part, begin, offsets, sizes in facts["pieces"]:
            rows, first = (sizes[0], offsets[0]) if sizes else (1, 0)
            count = DTYPES[facts["dtype"]] * int(np.prod(sizes, dtype=np.int64))
            content = np.fromfile(path / index["parts"][part], np.uint8, count, offset=begin)
            sums[name] += sum_of_rows(content, rows, first)
    found = []
    for name, facts in index["tensors"].items():
        if f"{sums[name] % MODULUS:064x}" != facts["content"]:
            found.append(f"{name} does not have the content that {TENSORS} says")
    if root_of(index, "") != saved.root:
        found.append(f"the tensors do not have the root that {MANIFEST} says")
    return found


def root_of(index: dict[str, Any], prefix: str) -> str:
    """The root over the tensors whose names begin with `prefix`, with the prefix removed."""
    return root(
        (name.removeprefix(prefix), facts["dtype"], tuple(facts["shape"]), int(facts["content"], 16))
        for name, facts in index["tensors"].items()
        if name.startswith(prefix)
    )
