"""Where weights come from: a name of the catalog, a URL, a model of the hub, or a file or folder of this machine.

`find` gives a file on this machine, whatever was named. What is fetched is kept in a cache, and found there again
without a network.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from data_shards.progress import Progress
from data_shards.remote import is_url
from pipeline.artifacts import FILE as ARTIFACT
from pipeline.artifacts import WEIGHTS
from pipeline.errors import ArtifactError
from pipeline.released import hub
from pipeline.released.catalog import CATALOG, Known, known, known_file
from pipeline.released.download import CACHE, download

NAMED_HASH = re.compile(r"-((?=\d*[a-f])[0-9a-f]{8,64})\.\w+(?:\.tar)?$")
"""The first digits of a file's sha256 in its name, as torch.hub has them; without a letter they are a date or a step.
"""
_AT_ONCE = 16 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Source:
    """Weights on this machine."""

    file: Path
    """The weights, or the index or list of their files."""
    origin: str
    """What they are a copy of: a URL, `hub:owner/model@commit`, or a file's name."""
    known: Known | None = None
    """What the catalog says of them."""


def find(weights: str, cache: Path | None = None) -> Source:
    """The file that `weights` names, fetched where it has to be.

    Raises `ArtifactError` where there is none, `RunError` where the disk does not take it.
    """
    path = Path(weights).expanduser()
    if weights in CATALOG and not path.exists():
        entry = CATALOG[weights]
        return Source(file=download(entry.url, cache or Path(CACHE)), origin=entry.url, known=entry)
    if is_url(weights):
        return Source(file=download(weights, cache or Path(CACHE)), origin=weights, known=known(weights))
    if path.is_file():
        return Source(file=path, origin=path.name, known=known_file(path.name))
    if path.is_dir():
        return Source(file=in_folder(path), origin=path.resolve().name)
    if hub.NAME.fullmatch(weights) and path.suffix not in _SUFFIXES:
        folder = hub.snapshot(weights)
        name = weights.partition("@")[0]
        return Source(file=in_folder(folder), origin=f"hub:{name}@{folder.name}")
    raise _nowhere(weights)


def in_folder(folder: Path) -> Path:
    """The weights in a folder such as transformers and timm write. Raises `ArtifactError` where there are none."""
    if (folder / ARTIFACT).exists():
        right = f"it is one already: give it as checkpoint={folder}"
        raise ArtifactError(str(folder), "is a run of this pipeline, and not a released file", right)
    for patterns in hub.WEIGHTS:
        found = sorted(folder.glob(patterns[0])) if len(patterns) < 3 else sorted(_any(folder, patterns))
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:4])
            raise ArtifactError(str(folder), f"holds {len(found)} files of weights ({names})", "name one of them")
        if found:
            return found[0]
    raise ArtifactError(str(folder), "is a folder without weights", "name a file, or a folder that holds one")


def sha256(file: Path) -> str:
    """Of a file's bytes, with progress where it is long."""
    digest, size = hashlib.sha256(), file.stat().st_size
    with (
        file.open("rb", 0) as content,
        Progress(size // 1_000_000, unit="MB", label="fetch: sha256", quiet=size < 1_000_000_000) as progress,
    ):
        done = 0
        while block := content.read(_AT_ONCE):
            digest.update(block)
            progress.update((done + len(block)) // 1_000_000 - done // 1_000_000)
            done += len(block)
    return digest.hexdigest()


def check_hash(source: Source, found: str, wanted: str | None) -> None:
    """Raise `ArtifactError` where a file has not the hash that is asked for, or that its name has."""
    named = NAMED_HASH.search(source.file.name)
    digits = wanted or (named[1] if named else "")
    if not found.startswith(digits.lower()):
        where = "sha256 asks for" if wanted else "its name says"
        given = f"has the sha256 {found[: max(12, len(digits))]}…, and {where} {digits}"
        right = "it is another file or was damaged: remove it and fetch it again"
        if not wanted:
            right += f"; if its name means something else, set sha256={found[:12]}"
        raise ArtifactError(str(source.file), given, right)


_SUFFIXES = (*WEIGHTS, ".tar", ".json")


def _any(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return [path for pattern in patterns for path in folder.glob(pattern)]


def _nowhere(weights: str) -> ArtifactError:
    if "/" in weights or Path(weights).suffix in _SUFFIXES:
        right = "give a file, a folder, a URL, or a model of the hub as owner/model"
        return ArtifactError(weights, "there is no such file", right)
    if re.fullmatch(r"regnet[xyz]_\w+\.\w+", weights):
        near = [f"timm/{weights}"]
    elif re.fullmatch(r"regnet-[xy]-[\w-]+", weights):
        near = [f"facebook/{weights}"]
    else:
        near = difflib.get_close_matches(weights, CATALOG, 3, 0.7)
    names = f"near it is {', '.join(near)}" if near else f"names are {', '.join(CATALOG)}"
    right = f"give a file, a URL, a model of the hub as owner/model, or a name; {names}"
    return ArtifactError(weights, "is no file and no name that is known", right)
