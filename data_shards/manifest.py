"""`manifest.json`: what a shard set holds. It is written last, so a directory with a manifest is complete.

format     data_shards/1
root       one hash over all shards and classes: two sets with equal roots hold the same bytes
classes    names of the labels; the label of a sample is a position in this list
totals     listed = accepted + quarantined + duplicates; reasons counts why images were quarantined
duplicates which kinds were dropped, traits how many of the accepted images are progressive, cmyk and so on
source     where the images came from, settings how they were packed
lineage    what was done to the set since it was packed, oldest first, each with the root that it had before
at         the URL where the shards lie, if that is not the directory of the manifest
shards     one line each: name, split, samples, bytes, hash (shard_hash.py), first_index
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from data_shards.durable import write_durably
from data_shards.errors import ShardError

FORMAT = "data_shards/1"
FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar. `hash` is that of `shard_hash`; `first_index` the index of its first sample within the split."""

    name: str
    split: str
    samples: int
    bytes: int
    hash: str
    first_index: int

    @property
    def index_name(self) -> str:
        """The index that lies beside the tar."""
        return self.name.removesuffix(".tar") + ".idx"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The contents of a shard set."""

    shards: tuple[Shard, ...]
    classes: tuple[str, ...]
    totals: dict[str, int]
    source: dict[str, Any]
    settings: dict[str, Any]
    reasons: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    traits: dict[str, int] = field(default_factory=dict)
    lineage: list[dict[str, Any]] = field(default_factory=list)
    at: str | None = None

    @cached_property
    def root(self) -> str:
        """sha256 over the shards and the classes."""
        lines = [[s.name, s.split, s.samples, s.bytes, s.hash] for s in self.shards]
        text = json.dumps([FORMAT, lines, list(self.classes)], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have shards, in the order of the shards."""
        return tuple(dict.fromkeys(shard.split for shard in self.shards))

    def of(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split, in order."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def samples(self, split: str) -> int:
        """How many samples a split has."""
        return sum(shard.samples for shard in self.of(split))

    def save(self, directory: Path) -> None:
        """Write `manifest.json` so that it is there completely or not at all."""
        write_durably(directory / FILE, self.text().encode())

    def text(self) -> str:
        """The manifest as JSON, a line for each shard."""
        fields = {
            "format": FORMAT,
            "root": self.root,
            "classes": list(self.classes),
            "totals": self.totals,
            "reasons": self.reasons,
            "duplicates": self.duplicates,
            "traits": self.traits,
            "source": self.source,
            "settings": self.settings,
            "lineage": self.lineage,
            **({} if self.at is None else {"at": self.at}),
        }
        lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        shards = ",\n".join("  " + json.dumps(dataclasses.asdict(shard)) for shard in self.shards)
        return "{\n" + ",\n".join(lines) + ',\n "shards": [\n' + shards + "\n ]\n}\n"

    @classmethod
    def load(cls, directory: Path) -> Manifest:
        """Read and check `manifest.json`. Raises `ShardError`."""
        path = Path(directory) / FILE
        try:
            fields = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise ShardError(str(directory), *_absent(Path(directory))) from None
        except (OSError, ValueError) as error:
            raise ShardError(
                str(path), f"cannot be read ({error})", "a manifest is JSON; pack the shards again"
            ) from None
        found = fields.get("format") if isinstance(fields, dict) else None
        if found != FORMAT:
            raise ShardError(str(path), f"has format {found!r}", f"this version reads {FORMAT!r}")
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            manifest = cls(
                shards=tuple(Shard(**shard) for shard in fields["shards"]),
                classes=tuple(fields["classes"]),
                totals=fields["totals"],
                source=fields["source"],
                settings=fields["settings"],
                reasons=fields["reasons"],
                duplicates=fields.get("duplicates", {}),
                traits=fields.get("traits", {}),
                lineage=fields.get("lineage", []),
                at=fields.get("at"),
            )
            if manifest.root == fields["root"]:
                return manifest
        raise ShardError(str(path), "contradicts its own root hash", "it was edited or damaged; pack the shards again")


def _absent(directory: Path) -> tuple[str, str]:
    if not directory.is_dir():
        return "there is no such directory", "give the directory that `shard` wrote"
    if (directory / ".packing").is_dir():
        return "holds shards that were not finished", "run the same `shard` command again, it goes on where it stopped"
    return f"holds no {FILE}", "give the directory that `shard` wrote"
