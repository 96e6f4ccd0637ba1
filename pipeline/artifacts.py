"""What one stage hands the next: a small JSON beside the files it names.

    kind          shards | checkpoint | features | scores | exported
    fingerprint   what was asked for: the resolved config, the inputs' contents, the format version
    content       what came of it: one hash over the result, the same for the same result on any machine
    files         every file with its size and hash, to tell damage from work not done
    inputs        the artifacts read, by name: path, kind, content
    figures       the numbers worth a line in a table

`artifact.json` is written last, so a directory that has one is a finished run. A stage whose artifact already has the
fingerprint asked for is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from data_shards.manifest import FILE as MANIFEST
from data_shards.manifest import Manifest
from data_shards.reading.plain_tars import places_of
from data_shards.remote import is_url
from data_shards.stream import ShardSet
from pipeline.errors import ArtifactError

FORMAT = 1
FILE = "artifact.json"
MAKES = {
    "shards": "shard",
    "checkpoint": "pretrain",
    "features": "features",
    "scores": "probe",
    "exported": "export",
    "report": "report",
}
"""Which stage makes a kind of artifact first: the cure in an error."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The result of one stage; see the module's docstring."""

    stage: str
    kind: str
    fingerprint: str
    content: str
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What later stages need to know: paths inside the run, sizes, class names."""
    version: str = ""
    seconds: float = 0.0
    format: int = FORMAT
    path: Path = field(default=Path(), compare=False)
    """The run directory; where it is does not belong to the artifact and is not written."""

    def save(self) -> None:
        """Write `artifact.json`, whole or not at all."""
        body = asdict(self)
        del body["path"]
        write_atomically(self.path / FILE, json.dumps(body, indent=1))

    @classmethod
    def load(cls, directory: str | Path, kind: str | None = None, *, wanted_by: str = "", key: str = "") -> Artifact:
        """The artifact in a run directory. Raises `ArtifactError` with the cure if there is none of that kind."""
        given, directory = directory, Path(directory)
        asks = f"{wanted_by} needs {_article(kind)}" if kind else wanted_by or "this"
        cure = f"python -m pipeline {MAKES.get(kind or '', 'chain')} RECIPE.yaml"
        setting = f"or set {key}=DIR" if key else "or name another directory"
        try:
            body = json.loads((directory / FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            if kind == "checkpoint" and _is_released(str(given), directory):
                right = f"{wanted_by} needs a checkpoint of this pipeline, which fetch makes of it"
                command = f"python -m pipeline fetch weights={given} out=runs/fetch"
                raise ArtifactError(str(given), "is no run of this pipeline", right, command) from None
            state = "holds no finished run" if directory.is_dir() else "does not exist"
            raise ArtifactError(str(directory), state, f"{asks}; make it first {setting}", cure) from None
        except (json.JSONDecodeError, OSError) as error:
            raise ArtifactError(
                str(directory / FILE), f"cannot be read ({error})", "remove that file and run its stage again", None
            ) from None
        if body.get("format") != FORMAT:
            raise ArtifactError(
                str(directory / FILE), f"has format {body.get('format')}", f"this version reads format {FORMAT}", cure
            )
        artifact = cls(**body, path=directory)
        if kind is not None and artifact.kind != kind:
            raise ArtifactError(
                str(directory), f"holds {_article(artifact.kind)}", f"{asks}; run that stage first {setting}", cure
            )
        return artifact

    def damaged(self) -> list[str]:
        """Names of files that are gone or changed in size; cheap enough to ask before a stage is skipped."""
        return [
            name
            for name, facts in self.files.items()
            if not (self.path / name).is_file() or (self.path / name).stat().st_size != facts["bytes"]
        ]


def shards_at(where: str, split: str, *, wanted_by: str = "", key: str = "") -> Artifact:
    """Shards as an input: of a run of `shard`, in any directory or at a URL with a manifest, or tars of anyone.

    Their content is the root that they have now. Raises `ArtifactError` where there are none, and `ShardError`.
    """
    directory = Path(where)
    made = Artifact(stage="shard", kind="shards", fingerprint="", content="", path=directory)
    if (directory / FILE).exists():
        made = Artifact.load(directory, "shards", wanted_by=wanted_by, key=key)
    if (directory / MANIFEST).is_file():  # it may have been repaired, or have grown, since its run
        return _of_manifest(made, Manifest.load(directory))
    if made.content:
        return made
    if is_url(where) or (not (directory / ".packing").exists() and places_of(where)):
        return _of_manifest(made, ShardSet(where, split).manifest)
    return Artifact.load(directory, "shards", wanted_by=wanted_by, key=key)


def _of_manifest(made: Artifact, manifest: Manifest) -> Artifact:
    facts = {"splits": {name: manifest.samples(name) for name in manifest.splits}, "classes": list(manifest.classes)}
    return replace(made, content=manifest.root, facts={**made.facts, **facts})


def fingerprint(stage: str, identity: Any, inputs: Mapping[str, str]) -> str:
    """Hash of what a run is asked for: its config's identity and the contents of its inputs."""
    return digest({"format": FORMAT, "stage": stage, "config": identity, "inputs": dict(inputs)})


def checkpoint_content(tensors: str, facts: Mapping[str, Any]) -> str:
    """Content of a checkpoint: the hash of its tensors, and what its readers take from its facts beside them."""
    return digest([tensors, facts["model"], facts["view"], list(facts.get("classes") or ())])


def digest(value: Any) -> str:
    """sha256 of plain data, the same for equal data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def describe_files(directory: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and sha256 of files under a run directory."""
    described = {}
    for name in sorted(names):
        path = directory / name
        with path.open("rb") as file:
            described[name] = {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return described


def write_atomically(path: Path, text: str) -> None:
    """Write a small file through a temporary name, fsync and rename."""
    # Process numbers do not tell apart processes of several machines.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


WEIGHTS = (".torch", ".pth", ".pt", ".bin", ".pyth", ".ckpt", ".safetensors")
"""How names of files end that hold somebody's weights."""
_NAMED = re.compile(r"(timm|facebook)/[\w.@-]+|(seer|swav|sup)_\w+")
"""Models of the hub, and names of `released/catalog.py`."""


def _is_released(given: str, directory: Path) -> bool:
    """Whether somebody's weights are named and no run directory: a file or folder of them, a URL, a hub's model."""
    if directory.is_dir():
        return any(path.suffix in WEIGHTS for path in directory.iterdir())
    return directory.is_file() or directory.suffix in WEIGHTS or is_url(given) or _NAMED.fullmatch(given) is not None


def _article(kind: str | None) -> str:
    plural = {"shards": "shards", "features": "features", "scores": "scores", "exported": "exported weights"}
    return plural.get(kind or "", f"a {kind}")
