"""Where a checkpoint came from: every artifact behind it, down to the hashes of the shards, without paths.

An artifact says what it read by path and content. A run that was moved is looked for beside its reader; what lies at
a path now but has another content is not the one that was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_shards.manifest import FILE as MANIFEST
from data_shards.manifest import Manifest
from pipeline.artifacts import Artifact
from pipeline.errors import UserError

_SOURCE = ("from", "sha256", "layout", "licence")
"""What `fetch` says of released weights and others may want to know."""


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """One artifact on the way."""

    kind: str
    content: str
    """Hash of what came of its stage."""
    stage: str = ""
    """Empty where it is not to be found any more: then only kind and content are known."""
    fingerprint: str = ""
    """Hash of what its stage was asked for."""
    version: str = ""
    """Of this pipeline, that made it."""
    reads: Mapping[str, str] = field(default_factory=dict)
    """Content of each artifact that it read, by what it read it as."""
    config: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)
    """Of released weights: where they are from, their hash and licence."""
    manifest: Manifest | None = None
    """Of shards."""

    def to_mapping(self) -> dict[str, Any]:
        """What a file may carry of it: hashes, figures and numbers of samples."""
        found: dict[str, Any] = {"kind": self.kind, "content": self.content, "stage": self.stage}
        found |= {"fingerprint": self.fingerprint, "version": self.version, "inputs": dict(self.reads)}
        found |= {"figures": dict(self.figures), "source": dict(self.source)}
        if self.manifest is not None:
            found["samples"] = {split: self.manifest.samples(split) for split in self.manifest.splits}
            found["shards"] = len(self.manifest.shards)
        return {name: value for name, value in found.items() if value not in ("", {})}


def ancestry(last: Artifact) -> list[Ancestor]:
    """An artifact and all behind it, each once, readers before what they read."""
    found: dict[str, Ancestor] = {}

    def visit(artifact: Artifact | None, kind: str, content: str, where: Sequence[Path]) -> None:
        if content in found:
            return
        for read in artifact.inputs.values() if artifact is not None else ():
            path = Path(read["path"])
            places = [path, artifact.path.parent / path.name] if artifact is not None else [path]
            visit(next(_artifacts(places, read["content"]), None), read["kind"], read["content"], places)
        manifest = next(_manifests(where, content), None) if kind == "shards" else None
        found[content] = _ancestor(artifact, kind, content, manifest)

    visit(last, last.kind, last.content, [last.path])
    return list(reversed(found.values()))


def licences(ancestors: Sequence[Ancestor]) -> list[str]:
    """The licences that weights behind the network came under, nearest first."""
    found = [ancestor.source.get("licence", "") for ancestor in ancestors]
    return list(dict.fromkeys(licence for licence in found if licence not in ("", "unknown")))


def _ancestor(artifact: Artifact | None, kind: str, content: str, manifest: Manifest | None) -> Ancestor:
    if artifact is None:
        return Ancestor(kind=kind, content=content, stage="shard" if manifest else "", manifest=manifest)
    source = artifact.facts.get("source") or {}
    return Ancestor(
        kind=kind,
        content=content,
        stage=artifact.stage,
        fingerprint=artifact.fingerprint,
        version=artifact.version,
        reads={name: read["content"] for name, read in artifact.inputs.items()},
        config=artifact.config,
        figures=artifact.figures if kind == "checkpoint" and not source else {},
        source={name: _public(source[name]) for name in _SOURCE if source.get(name)},
        manifest=manifest,
    )


def _artifacts(places: Sequence[Path], content: str) -> Iterator[Artifact]:
    for place in places:
        try:
            artifact = Artifact.load(place)
        except UserError:
            continue
        if artifact.content == content:
            yield artifact


def _manifests(places: Sequence[Path], content: str) -> Iterator[Manifest]:
    for place in places:
        try:
            manifest = Manifest.load(place) if (place / MANIFEST).is_file() else None
        except UserError:
            continue
        if manifest is not None and manifest.root == content:
            yield manifest


def _public(value: object) -> str:
    """A text of a source as others may read it: of a path on this machine only the name."""
    text = str(value).removeprefix("file://")
    return Path(text).name if text.startswith(("/", "~", "./", "../")) else text
