"""The model card: what the network is, how to load it, what was checked, and what it came from, as Markdown.

The lines between `---` are the metadata that model hubs read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.models.regnet import CUSTOM
from pipeline.released.lineage import Ancestor, licences
from pipeline.released.writers import Release

FILE = "README.md"
_SHARDS = 16
"""Shards that are listed one by one; the root of the manifest stands for all."""
_CLASSES = 40
"""Classes that are listed by name."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What came of one library."""

    title: str
    where: str
    """File or folder, from the card."""
    usage: str
    """How to load it, as Markdown."""
    difference: float | None
    """Largest difference from the checkpoint in any output; None where it could not be opened here."""
    remark: str = ""

    @property
    def found(self) -> str:
        """The difference as it is to be read."""
        if self.difference is None:
            return "not checked"
        return f"{self.difference:.1e}" if self.difference else "0"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of an evaluation of this network or of one behind it."""

    stage: str
    content: str
    """Of the network that was measured."""
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything that the card tells."""

    title: str
    release: Release
    licence: str
    written: Sequence[Written]
    left_out: Mapping[str, str]
    """Title of each library that has no such network, or could not be written for, and why."""
    images: int
    """On how many images outputs were compared."""
    ancestors: Sequence[Ancestor]
    measured: Sequence[Measured] = field(default_factory=tuple)

    def __str__(self) -> str:
        parts = [self._metadata(), *self._what(), *self._load(), *self._preprocessing(), *self._checked()]
        parts += [*self._figures(), *self._lineage(), *self._licence()]
        return "\n\n".join(parts) + "\n"

    @property
    def stated_licence(self) -> str:
        """The licence given, else that of the weights that it was made from; empty where neither is known."""
        return self.licence or " and ".join(licences(self.ancestors))

    def _metadata(self) -> str:
        licence = self.stated_licence
        plain = re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence) is not None
        task = "image-classification" if self.release.classes else "image-feature-extraction"
        lines = [f"license: {licence if plain else 'other' if licence else 'unknown'}"]
        if licence and not plain:
            lines.append(f"license_name: {json.dumps(licence, ensure_ascii=False)}")
        return "\n".join(
            ["---", *lines, f"pipeline_tag: {task}", "tags: [regnet, self-supervised, safetensors]", "---"]
        )

    def _what(self) -> Iterator[str]:
        model, stages = self.release.model, self.release.model.stages()
        yield f"# {_plain(self.title)}"
        numbers = f"{sum(p.numel() for p in self.release.network.parameters()):,} parameters"
        size = "A RegNet" if model.size == CUSTOM else f"The RegNet `{model.size}`"
        made = f"stage widths {_listed(stages.widths)}, depths {_listed(stages.depths)}"
        side = self.release.view.size
        gives = f"the scores of {len(self.release.classes)} classes" if self.release.classes else "a feature vector"
        if not self.release.classes:
            gives += f" of length {self.release.network.backbone.width}"
        yield f"{size} ({made}; {numbers}). It makes {gives} of an image of 3 × {side} × {side}."
        if self.release.classes:
            named = [_plain(name) for name in self.release.classes[:_CLASSES]]
            more = len(self.release.classes) - len(named)
            yield "Classes, in the order of the scores: " + ", ".join(named) + (f" and {more} more." if more else ".")

    def _load(self) -> Iterator[str]:
        yield "## Load it"
        yield "Paths are relative to this folder. Images are normalised as below."
        for written in self.written:
            yield f"**{written.title}**"
            yield written.usage

    def _preprocessing(self) -> Iterator[str]:
        view, model = self.release.view, self.release.model
        side = f"{view.resize} × {view.resize} pixels, whatever its shape" if not view.keep_ratio else ""
        yield "## Preprocessing"
        yield _table(
            ["step", "value"],
            [
                ("resize", f"{side or f'shorter side to {view.resize} pixels'}, {view.interpolation}, as Pillow does"),
                ("crop", f"the central {view.size} × {view.size} pixels"),
                ("colours", "red, green, blue, divided by 255"),
                ("mean", _listed(model.mean)),
                ("standard deviation", _listed(model.std)),
            ],
        )

    def _checked(self) -> Iterator[str]:
        yield "## What was checked"
        yield (
            "Each was opened again, by its library where nothing else is said, and its outputs on "
            f"{self.images} images of the data were compared with those of the checkpoint, in fp32."
        )
        rows = [(written.title, f"`{written.where}`", written.found, written.remark) for written in self.written]
        yield _table(["library", "where", "largest difference", ""], rows)
        if self.left_out:
            yield "Not written:"
            yield "\n".join(f"- {title}: {why}" for title, why in self.left_out.items())

    def _figures(self) -> Iterator[str]:
        yield "## Figures"
        rows = [
            (name.replace("_", " "), f"{value:g}", f"`{stage}` of `{content[:12]}`")
            for stage, content, figures in (
                *((a.stage, a.content, a.figures) for a in self.ancestors),
                *((m.stage, m.content, m.figures) for m in self.measured),
            )
            for name, value in figures.items()
        ]
        yield (
            _table(["figure", "value", "stage, and the network by its content"], rows) if rows else "None is recorded."
        )

    def _lineage(self) -> Iterator[str]:
        yield "## Data and lineage"
        yield "Each row was made from those it reads. A content is one hash over the result, the same on any machine."
        yield _table(["stage", "how", "content", "reads"], [_row(ancestor) for ancestor in self.ancestors])
        for ancestor in self.ancestors:
            if ancestor.manifest is not None:
                yield from _data(ancestor)

    def _licence(self) -> Iterator[str]:
        yield "## Licence"
        stated = _plain(self.stated_licence) if self.stated_licence else "Not stated."
        yield stated if self.stated_licence.endswith(".") or not self.stated_licence else f"{stated}."
        behind = [_plain(licence) for licence in licences(self.ancestors)]
        if behind and self.licence:
            yield f"The weights it was made from came under: {', '.join(behind)}."


def _row(ancestor: Ancestor) -> tuple[str, ...]:
    reads = ", ".join(f"`{content[:12]}`" for content in ancestor.reads.values())
    if not ancestor.stage:
        gone = "shards that are" if ancestor.kind == "shards" else f"a {ancestor.kind} that is"
        return (f"{gone} no longer here", "", f"`{ancestor.content}`", "")
    return (ancestor.stage, _plain(_how(ancestor)), f"`{ancestor.content}`", reads)


def _how(ancestor: Ancestor) -> str:
    """What a stage did, in a few words of its recipe."""
    said = [f"{name} {value}" for name, value in ancestor.source.items()]
    if ancestor.manifest is not None:
        source = ancestor.manifest.source
        said.append(f"source {source.get('name', 'unknown')}")
        if listing := source.get("listing"):
            said.append(f"listing {str(listing)[:12]}")
    for section, key in (("objective", "name"), ("trainer", "duration"), ("trainer", "batch"), ("", "seed")):
        value: Any = (ancestor.config.get(section) or {}).get(key) if section else ancestor.config.get(key)
        if value is not None and ancestor.kind == "checkpoint":
            said.append(str(value) if section == "objective" or key == "duration" else f"{key} {value}")
    return ", ".join(said)


def _data(ancestor: Ancestor) -> Iterator[str]:
    manifest = ancestor.manifest
    assert manifest is not None
    samples = ", ".join(f"{manifest.samples(split):,} {_plain(split)}" for split in manifest.splits)
    labels = f"{len(manifest.classes)} classes" if manifest.classes else "no labels"
    yield (
        f"Shard set `{manifest.root[:12]}`: {samples} images, {labels}, {len(manifest.shards)} shards. "
        "`python -m data_shards verify DIR` holds a copy of it against these hashes."
    )
    listed = manifest.shards[:_SHARDS]
    yield _table(["shard", "images", "hash"], [(s.name, f"{s.samples:,}", f"`{s.hash}`") for s in listed])
    if more := len(manifest.shards) - len(listed):
        yield f"And {more:,} more, whose hashes are in the `manifest.json` with that root."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
