"""fetch: released weights of anyone into a checkpoint, which every other stage reads.

A name of the catalog, a URL, a model of the hub, a file or a folder; pickles, safetensors, VISSL's checkpoints. The
file is not trusted, every tensor of it is accounted for, and it is written a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from data_shards.progress import Progress
from pipeline import results
from pipeline.artifacts import Artifact, checkpoint_content
from pipeline.checkpoints.store import content
from pipeline.checkpoints.tensorwise import save_tensors
from pipeline.config import dump, to_mapping
from pipeline.errors import ArtifactError, RunError
from pipeline.models.regnet import RegNet
from pipeline.released import readers, sources
from pipeline.released.architecture import tell
from pipeline.released.described import DESCRIPTIONS
from pipeline.released.download import CACHE
from pipeline.released.imported import IMAGENET, Colour, Imported, imported
from pipeline.released.readers import Held
from pipeline.released.sources import Source
from pipeline.results import Table
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result
from pipeline.views import Evaluation


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `fetch`."""

    out: str = field(default="runs/fetch", metadata={"identity": False})
    """Run directory."""
    weights: str
    """A name of the catalog (seer_rg32, seer_rg32_in1k), a URL, a model of the hub (timm/regnety_320.seer), a file or a
    folder."""
    model: RegNet.Config | None = None
    """The network that it must be; null to find it from the tensors' shapes, with the mean and std that lie beside."""
    view: Evaluation.Config | None = None
    """How the network wants pictures shown; null for what the file, its surroundings or the catalog say."""
    classes: str | None = None
    """The classes of its classifier: a text file with a name a line, or imagenet; null for what the file says."""
    colour: Colour | None = None
    """Whether the network takes rgb or bgr, of which rgb is made; null for what is known of the file."""
    sha256: str | None = None
    """The file's hash, or its first digits; another file is refused."""
    cache: str = field(default=CACHE, metadata={"identity": False})
    """Folder for what comes from a URL; the hub's models lie in its own."""

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _is_hexadecimal(self.sha256):
            raise ValueError(f"sha256 is {self.sha256!r}; give hexadecimal digits, at most 64")


def inputs(config: Config) -> Mapping[str, Input]:
    """Released files are no artifact."""
    return {}


def check(config: Config) -> None:
    """Fetch the file and look into it: what cannot be fetched or read leaves no run directory behind."""
    _look(config)


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Look, write; what was fetched is not fetched again."""
    source, held, network = _look(config)
    found = sources.sha256(source.file)
    sources.check_hash(source, found, config.sha256)
    for file in (source.file, *held.parts) if config.sha256 is None else ():
        readers.check_sums(file)
    size = sum(stored.bytes for stored in network.tensors.values())
    with Progress(size // 1_000_000, unit="MB", label="fetch: write", quiet=size < 100_000_000) as progress:
        saved = save_tensors(run.path, network.tensors, config=dump(to_mapping(config)), progress=progress)
    known = [("known as", source.known.what)] if source.known else []
    told = [("from", source.origin), *known, ("sha256", found), *network.told]
    results.save(run.path, [Table(title="Released weights", heads=("", "found"), rows=told)])
    lines = "\n".join(f"  {what:<10}{text}" for what, text in told)
    print(f"{lines}\nNext: give it to another stage, checkpoint={run.path}", flush=True)
    facts = {
        "checkpoint": str(saved.path.relative_to(run.path)),
        "model": to_mapping(network.model),
        "view": to_mapping(network.view),
        "classes": list(network.classes),
        "source": {
            "from": source.origin,
            "file": source.file.name,
            "sha256": found,
            "files": _describe(source.file, held, found),
            "listed": None if config.classes in (None, IMAGENET) else _described(Path(config.classes).expanduser()),
            "kind": held.kind,
            "layout": network.layout,
            "licence": network.licence,
        },
    }
    return Result(
        kind="checkpoint",
        content=checkpoint_content(content(saved.path), facts),
        files=(results.FILE, str((saved.path / "manifest.json").relative_to(run.path))),
        known_files={str((saved.path / name).relative_to(run.path)): facts for name, facts in saved.files.items()},
        figures={
            "parameters": float(sum(prod(s.shape) for name, s in network.tensors.items() if _is_learnt(name))),
            "tensors": float(len(network.tensors)),
            "classes": float(len(network.classes)),
        },
        facts=facts,
    )


def _look(config: Config) -> tuple[Source, Held, Imported]:
    """The file on this machine, what it holds, and the network in it."""
    source = sources.find(config.weights, Path(config.cache))
    held = readers.read(source.file)
    network = imported(source, held, model=config.model, view=config.view, classes=config.classes, colour=config.colour)
    if config.model is None:
        hold_to_catalog(config.weights, source, network.model)
    return source, held, network


def hold_to_catalog(weights: str, source: Source, found: RegNet.Config) -> None:
    """Raise `ArtifactError` where a file of the catalog holds another network than the catalog has for it."""
    if source.known is None:
        return
    known = RegNet.Config(size=source.known.size)
    if found.stages() != known.stages():
        usual = to_mapping(RegNet.Config())
        settings = [f"'model.{key}={value}'" for key, value in to_mapping(found).items() if value != usual[key]]
        given = f"holds {tell(found)}, and the catalog has it as {tell(known)}"
        right = "name another file, or say that this network is wanted"
        raise ArtifactError(
            str(source.file), given, right, f"python -m pipeline fetch weights={weights} {' '.join(settings)}"
        )


def recheck(config: Config, artifact: Artifact) -> None:
    """Raises `RunError` where a file on this machine is another one than was read; one that is gone is none."""
    path, known = Path(config.weights).expanduser(), artifact.facts["source"]
    folder = path if path.is_dir() else path.parent
    pairs = []
    if path.exists() and (folder / known["file"]).is_file():
        chosen = sources.in_folder(path) if path.is_dir() else path
        names = {**dict.fromkeys((chosen.name, *DESCRIPTIONS)), **known["files"]}
        pairs = [(folder / name, then) for name, then in names.items()]
    if known["listed"] and config.classes is not None:
        pairs.append((Path(config.classes).expanduser(), known["listed"]))
    for file, then in pairs:
        if file.is_file() and not _is_same(file, then):
            given = f"from another {file.name}" if then is not None else f"when there was no {file.name}"
            given = f"holds what was fetched {given}"
            raise RunError(config.out, given, "choose another directory with out=DIR, or remove this one", None)


def _describe(file: Path, held: Held, found: str) -> dict[str, dict[str, Any]]:
    """What was read, by its place beside the file whose hash was `found`."""
    beside = [path for name in DESCRIPTIONS if (path := file.with_name(name)).is_file()]
    others = {str(path.relative_to(file.parent)): _described(path) for path in (*held.parts, *beside)}
    return {file.name: _described(file, found), **others}


def _described(file: Path, found: str | None = None) -> dict[str, Any]:
    stat = file.stat()
    return {"bytes": stat.st_size, "modified": stat.st_mtime_ns, "sha256": found or sources.sha256(file)}


def _is_same(file: Path, then: Mapping[str, Any] | None) -> bool:
    """Whether a file is as it was; one that was only touched is."""
    stat = file.stat()
    if then is None or stat.st_size != then["bytes"]:
        return False
    return bool(stat.st_mtime_ns == then["modified"] or sources.sha256(file) == then["sha256"])


def _is_hexadecimal(text: str) -> bool:
    return 0 < len(text) <= 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)


def _is_learnt(name: str) -> bool:
    """Whether a tensor is a parameter and no statistic of BatchNorm."""
    return not name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))
