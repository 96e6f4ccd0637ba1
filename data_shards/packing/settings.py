"""How images are looked at, treated and packed: the settings of a packing."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from data_shards.images import MAX_PIXELS, Probe
from data_shards.images.perceptual import THRESHOLD
from data_shards.images.treat import Treatment
from data_shards.manifest import Manifest

_NOT_IN_THE_BYTES = {"identity": False}


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """How images are looked at, treated and packed."""

    samples_per_shard: int = 10_000
    """Most samples in a shard."""
    bytes_per_shard: int = 1_000_000_000
    """Largest shard in bytes; one sample that is larger has a shard of its own."""
    images_per_slice: int = 100_000
    """Listed images that a worker takes at once; no shard reaches over the end of a slice."""
    probe: Probe = "strict"
    """How closely each image is looked at: header, strict (JPEG decoded at 1/8) or full."""
    max_pixels: int = MAX_PIXELS
    """Larger images are quarantined, in pixels per image."""
    max_side: int | None = None
    """Larger images are stored as JPEG with this longest side, in pixels; by default all are stored as they are."""
    quality: int = 90
    """JPEG quality of images that are encoded anew, 1 to 100."""
    progressive: Literal["keep", "recode"] = "keep"
    """Store progressive JPEGs as they are, or recoded without loss: they take three times as long to decode."""
    animated: Literal["first", "reject"] = "first"
    """Use the first frame of an animation, or put it into quarantine."""
    duplicates: Literal["exact", "near", "keep"] = "exact"
    """Drop images whose bytes were packed before (exact), also those that look the same (near), or keep them all."""
    near_bits: int = THRESHOLD
    """Two images look the same where at most this many of the 64 bits of their perceptual hashes differ, 0 to 7."""
    exclude: tuple[str, ...] = ()
    """Shard sets whose images are dropped here as duplicates, such as those that a model will be tested on."""
    max_bad: float = field(default=0.5, metadata=_NOT_IN_THE_BYTES)
    """Stop when more than this share of the images of a slice is unusable."""
    to: str | None = field(default=None, metadata=_NOT_IN_THE_BYTES)
    """URL to put the shards at, such as s3://bucket/shards; the run directory then keeps only the manifest."""
    workers: int = field(default=0, metadata=_NOT_IN_THE_BYTES)
    """Processes, each with a slice of its own; 0 for one per core."""
    threads: int = field(default=0, metadata=_NOT_IN_THE_BYTES)
    """Threads in each process that read and look at images; 0 for as many as pay."""

    def __post_init__(self) -> None:
        _ = self.treatment  # which checks its own
        for name in ("samples_per_shard", "bytes_per_shard", "images_per_slice", "max_pixels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.max_bad <= 1:
            raise ValueError(f"max_bad is a share above 0 and up to 1, not {self.max_bad}")
        if not 0 <= self.near_bits <= 7:
            raise ValueError(f"near_bits is a number of bits from 0 to 7, not {self.near_bits}")
        if self.workers < 0 or self.threads < 0:
            raise ValueError("workers and threads must be at least 0")

    @property
    def treatment(self) -> Treatment | None:
        """What is done to an image before it is stored; None where all are stored as they are."""
        names = ("max_side", "quality", "progressive", "animated")
        asked = Treatment(**{name: getattr(self, name) for name in names})
        return None if asked == Treatment(quality=asked.quality) else asked

    def identity(self) -> dict[str, Any]:
        """What the bytes of the shards depend on, as plain JSON values. Raises `ShardError` for `exclude`."""
        names = [field.name for field in fields(PackSettings) if field.metadata.get("identity", True)]
        roots = [Manifest.load(Path(directory)).root for directory in self.exclude]
        return {**{name: getattr(self, name) for name in names}, "exclude": roots}

    @classmethod
    def of(cls, given: dict[str, Any]) -> PackSettings:
        """Settings from the plain JSON values of their fields."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        return cls(**values)

    def plain(self) -> dict[str, Any]:
        """The fields of these settings, without those of a class that adds its own."""
        return {field.name: getattr(self, field.name) for field in fields(PackSettings)}
