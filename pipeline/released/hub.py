"""Models of the Hugging Face hub: the only file that imports huggingface_hub.

Its cache, its log-in (`HF_TOKEN`), its mirror (`HF_ENDPOINT`) and its offline mode (`HF_HUB_OFFLINE`) are its own. Of a
model only what is needed is fetched: its weights, in one format, and the small files that describe it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import WEIGHTS as SUFFIXES
from pipeline.errors import ArtifactError
from pipeline.released.described import DESCRIPTIONS, README

NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
"""owner/model, or owner/model@revision."""
WEIGHTS = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*.safetensors"),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*.bin"),
    ("*.safetensors",),
    tuple(f"*{suffix}" for suffix in SUFFIXES if suffix != ".safetensors"),
)
"""Files that hold a model's weights, best first; of several, the first pattern is the one that is opened."""


def snapshot(name: str, *, cache: Path | None = None, endpoint: str | None = None) -> Path:
    """The folder with a model's files, named by the commit they are of. Raises `ArtifactError` with the cure."""
    match = NAME.fullmatch(name)
    assert match is not None, name
    model, revision = match[1], match[2]
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError:
        given = "is a model of the Hugging Face hub, which takes the package huggingface_hub"
        raise ArtifactError(name, given, "it is not installed", "pip install huggingface_hub") from None
    where: dict[str, Any] = {"revision": revision, "cache_dir": cache}
    try:
        info = hub.HfApi(endpoint=endpoint).model_info(model, revision=revision)
        wanted = _wanted(name, [file.rfilename for file in info.siblings or ()])
        return Path(hub.snapshot_download(model, allow_patterns=wanted, endpoint=endpoint, **where))
    except errors.GatedRepoError:
        right = f"accept its terms on its page, https://huggingface.co/{model}, and set HF_TOKEN"
        raise ArtifactError(name, "asks for consent to its terms", right) from None
    except errors.RevisionNotFoundError:
        raise ArtifactError(name, f"has no revision {revision}", f"leave it out: weights={model}") from None
    except errors.RepositoryNotFoundError:
        right = "check the name, as in timm/regnety_320.seer; a private one takes HF_TOKEN"
        raise ArtifactError(name, "is no model of the hub, and no file", right) from None
    except Exception as error:
        if not _is_of_the_network(error):
            raise
        return _here(hub, name, model, where, error)


def _here(hub: Any, name: str, model: str, where: dict[str, Any], error: Exception) -> Path:
    """The model as it was fetched once. Raises `ArtifactError` where it never was."""
    try:
        folder = Path(hub.snapshot_download(model, local_files_only=True, allow_patterns=["config.json"], **where))
        _wanted(name, [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()])
        return folder
    except (OSError, ValueError, ArtifactError):
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        right = "check the network; on a machine without one copy the model's folder there and set weights=FOLDER"
        raise ArtifactError(name, f"the hub cannot be reached ({reason})", right) from None


def _wanted(name: str, files: Sequence[str]) -> list[str]:
    """The files to fetch of those that a model has. Raises `ArtifactError` where none are weights."""
    top = [file for file in files if "/" not in file]
    for patterns in WEIGHTS:
        found = [file for file in top if any(Path(file).match(pattern) for pattern in patterns)]
        if any(Path(file).match(patterns[0]) for file in found) or (len(patterns) > 2 and found):
            return [*(file for file in (*DESCRIPTIONS, README) if file in top), *found]
    raise ArtifactError(name, "holds no weights that are read here", "it needs .safetensors, .bin or .pth")


def _is_of_the_network(error: Exception) -> bool:
    """Whether the hub did not answer; its client's errors come from packages that have changed over time."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "requests")
