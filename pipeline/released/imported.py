"""The network in a released file, under our names and ready to be a checkpoint: tensors, architecture, view, classes.

What the file does not say comes from what lies beside it, then from the catalog, then from the usual way; `told` says
which. A network that takes blue, green, red becomes one that takes red, green, blue: the input channels of its first
convolution are turned round, so that nothing after this knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

from pipeline import config
from pipeline.checkpoints.tensorwise import Stored
from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.released.accounting import Account, account
from pipeline.released.described import Description, beside
from pipeline.released.imagenet import CLASSES
from pipeline.released.layouts import BACKBONE
from pipeline.released.readers import Held
from pipeline.released.sources import Source
from pipeline.views import Evaluation

Colour = Literal["rgb", "bgr"]
IMAGENET = "imagenet"
"""The word for ImageNet-1k's classes."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A network that can be written as a checkpoint."""

    tensors: Mapping[str, Stored]
    """`backbone.*` and, with a classifier, `classifier.*`; fp32."""
    model: RegNet.Config
    view: Evaluation.Config
    classes: tuple[str, ...]
    """Empty without a classifier."""
    layout: str
    licence: str
    told: tuple[tuple[str, str], ...]
    """What was found and from where, for people: (what, value)."""


def imported(
    source: Source,
    held: Held,
    *,
    model: RegNet.Config | None = None,
    view: Evaluation.Config | None = None,
    classes: str | None = None,
    colour: Colour | None = None,
) -> Imported:
    """The network in a file; what is given goes before what the file and its surroundings say.

    `classes` is the word imagenet, or a text file with a name a line. Raises `ArtifactError` where the tensors are not
    those of the network, or a description or list does not fit it.
    """
    said = beside(source.file, held.says)
    declared = _declared(source.file, said)
    found = account(held.shapes, str(source.file), model or declared)
    bgr = colour == "bgr" if colour else held.bgr or bool(source.known and source.known.bgr)
    shown, where = _view(source, said, view)
    names, named = _classes(source, said, found, classes)
    licence = said.licence or (source.known.licence if source.known else "")
    told = (
        ("file", held.kind),
        ("tensors", found.tell()),
        ("input", _tell_input(bgr, colour, held)),
        ("view", f"{_tell_view(shown)} ({where})"),
        ("classes", named),
        ("licence", licence or "not stated; ask where the file comes from"),
        *(("note", note) for note in (*held.notes, *said.notes)),
    )
    return Imported(
        tensors=_tensors(held, found, bgr),
        model=model or _normalised(found.model, said),
        view=shown,
        classes=names,
        layout=found.layout.name,
        licence=licence,
        told=told,
    )


def _tensors(held: Held, found: Account, bgr: bool) -> dict[str, Stored]:
    stem = f"{BACKBONE}stem.conv.weight"
    tensors = {name: Stored.of(zero) for name, zero in found.zeros().items()}
    for ours, theirs in found.sources.items():
        stored = held.tensors[theirs]
        dtype = torch.float32 if stored.dtype.is_floating_point else torch.int64
        read = stored.read
        if bgr and ours == stem:
            read = _turned(stored)
        tensors[ours] = Stored(stored.shape, dtype, read)
    return tensors


def _turned(stored: Stored) -> Any:
    return lambda: stored.read().flip(1)


def _declared(file: Path, said: Description) -> RegNet.Config | None:
    """The network that a file of ours says it holds: shapes do not tell a stem for small images."""
    if said.model is None:
        return None
    try:
        return config.build(RegNet.Config, said.model)
    except ValidationError as error:
        raise ArtifactError(str(file), f"describes no RegNet ({error.errors()[0]['msg']})", "export it again") from None


def _normalised(model: RegNet.Config, said: Description) -> RegNet.Config:
    """With the mean and deviation that are said; ImageNet's otherwise, with which all released RegNets were trained."""
    return replace(model, mean=said.mean or model.mean, std=said.std or model.std)


def _view(source: Source, said: Description, given: Evaluation.Config | None) -> tuple[Evaluation.Config, str]:
    if given is not None:
        return given, "as the recipe says"
    known = source.known.view if source.known else None
    for mapping, where in ((said.view, said.source), (known, "as the catalog has it")):
        if mapping is not None:
            try:
                return config.build(Evaluation.Config, mapping), where
            except ValidationError as error:
                given_, right = f"describes no view ({error.errors()[0]['msg']})", "set view.size and view.resize"
                raise ArtifactError(f"{source.file.parent}: {where}", given_, right) from None
    return Evaluation.Config(), "the usual one, as nothing is said; set view.size, view.resize and view.interpolation"


def _classes(source: Source, said: Description, found: Account, given: str | None) -> tuple[tuple[str, ...], str]:
    """The classes' names, and where they are from."""
    if found.classes is None:
        if given is not None:
            raise ArtifactError(str(source.file), f"has no classifier, but classes={given} names some", "leave it out")
        return (), "no classifier"
    if given is not None:
        names, where = _listed(given), given
        if len(names) != found.classes:
            given_ = f"has {len(names)} names, and the classifier in {source.file.name} {found.classes} classes"
            raise ArtifactError(given, given_, "list one name a line, in the classifier's order")
        return names, f"{len(names)}, as {where} names them"
    if said.classes and len(said.classes) == found.classes:
        return said.classes, f"{found.classes}, as {said.source} names them"
    if source.known and source.known.imagenet and found.classes == len(CLASSES):
        return CLASSES, f"{found.classes}, ImageNet-1k's"
    numbers = tuple(map(str, range(found.classes)))
    hint = "classes=imagenet if they are ImageNet-1k's, or " if found.classes == len(CLASSES) else ""
    return numbers, f"{found.classes}, by their numbers; set {hint}classes=FILE with a name a line"


def _listed(given: str) -> tuple[str, ...]:
    if given == IMAGENET:
        return CLASSES
    try:
        lines = Path(given).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ArtifactError(given, f"cannot be read ({reason})", "give a text file with a name a line") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if twice := next((name for n, name in enumerate(names) if name in names[:n]), None):
        raise ArtifactError(given, f"names {twice} twice", "a class has one line")
    return names


def _tell_input(bgr: bool, colour: Colour | None, held: Held) -> str:
    if not bgr:
        return "red, green, blue"
    why = "as the recipe says" if colour else "as pycls' own files have it" if held.bgr else "as the catalog has it"
    return f"blue, green, red ({why}); turned to red, green, blue"


def _tell_view(view: Evaluation.Config) -> str:
    how = f"shorter side to {view.resize}" if view.keep_ratio else f"warped to {view.resize}×{view.resize}"
    crop = f", centre of {view.size}" if view.size != view.resize or view.keep_ratio else ""
    return f"{how} {view.interpolation}{crop}"
