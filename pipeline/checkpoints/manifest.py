"""What a checkpoint says of itself, and how checkpoints lie in a run directory; needs no torch.

    checkpoints/
        latest                      the name of the newest, for people and scripts; restoring does not trust it
        step-000000500/             one checkpoint
            part-00000-of-00002.safetensors     what one process wrote; any reader of safetensors opens it
            tensors.json            every tensor: dtype, shape, content, where its pieces lie; every other value
            manifest.json           written last: counts, stream, figures, config, code, root, the files' hashes
        .step-000000600.tmp/        a save at work, or one that was killed
        .step-000000300.old/        a checkpoint on its way out

`manifest.json` is in one canonical form and holds the hash of the rest of itself, so that a change of any byte shows.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.artifacts import digest

FOLDER = "checkpoints"
MANIFEST, TENSORS, POINTER = "manifest.json", "tensors.json", "latest"
PREFIX, SAVING, REMOVING = "step-", ".tmp", ".old"
FORMAT, FIRST_FORMAT = 2, 1
"""Written now; and torch.distributed.checkpoint's own files, which are still read."""


class DamageError(Exception):
    """A file of a checkpoint is not as it was written. The text is the sentence."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk."""

    path: Path
    step: int
    consumed: int
    """Samples the job had consumed: where the stream goes on."""
    stream: Mapping[str, Any] = field(default_factory=dict)
    """The state of the stream, `Loader.state_dict`: what it must be resumed on."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What had been measured by then; retention chooses the best by one of them."""
    root: str = ""
    """Hash over all tensors; see content.py. Empty in the first format."""
    processes: int = 0
    """How many processes wrote it; 0 in the first format, which does not say."""
    config: str = ""
    """The resolved config, as config.yaml had it."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Versions of the code that wrote it."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Every file but the manifest: `bytes` and `sha256`."""
    format: int = FORMAT

    @classmethod
    def load(cls, path: Path) -> Saved:
        """From the manifest of a checkpoint. Raises `DamageError`."""
        facts = read_manifest(path)
        fields = ("step", "consumed", "stream", "figures", "root", "processes", "config", "code", "files", "format")
        return cls(path, **{name: facts[name] for name in fields if name in facts})

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(int(facts["bytes"]) for facts in self.files.values())


def manifest_text(facts: Mapping[str, Any]) -> str:
    """The canonical text of a manifest."""
    return json.dumps({**facts, "hash": digest(dict(facts))}, indent=1)


def read_manifest(path: Path) -> dict[str, Any]:
    """The facts in the manifest of a checkpoint. Raises `DamageError` if it is not byte for byte as written."""
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
        facts: dict[str, Any] = json.loads(text)
        facts.pop("hash")
        intact = manifest_text(facts) == text
        known = facts["format"] in (FORMAT, FIRST_FORMAT) and {"step", "consumed"} <= facts.keys()
        plain = all(Path(name).name == name for name in facts["files"])
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise DamageError(f"{MANIFEST} cannot be read: {error}") from None
    if not intact:
        raise DamageError(f"{MANIFEST} has changed")
    if not known:
        raise DamageError(f"{MANIFEST} has format {facts['format']}, and this version reads 1 to {FORMAT}")
    if not plain:
        raise DamageError(f"{MANIFEST} names a file outside of its directory")
    return facts


def amount(size: float) -> str:
    """Bytes for people: "1.2 GB"."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def name_of(step: int) -> str:
    """The directory of a checkpoint after `step` steps."""
    return f"{PREFIX}{step:09d}"


def directories(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.name.startswith(PREFIX) and path.is_dir())
    return sorted(found, reverse=True)


@cache
def code_versions() -> dict[str, str]:
    """Of the pipeline, from its repository where it runs from one, and of torch."""
    found = {}
    for package, key in (("seer-pipeline", "pipeline"), ("torch", "torch")):
        try:
            found[key] = version(package)
        except PackageNotFoundError:
            continue
    described = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(described, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return found
    return {**found, "commit": done.stdout.strip()} if done.returncode == 0 else found
