"""What a shard set holds, as text for a terminal."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np

from data_shards import images
from data_shards.errors import ImageError
from data_shards.manifest import Manifest
from data_shards.stream import ShardSet

_LOOKED_AT = 1000  # samples of each split whose headers are read
_LISTED = 12  # labels shown


def describe(directory: Path) -> str:
    """The manifest in words, and figures of some samples of each split. Raises `ShardError`."""
    manifest = Manifest.load(directory)
    lines = [f"{directory}: {_amount(sum(shard.bytes for shard in manifest.shards))} in {len(manifest.shards)} shards"]
    lines.append("  " + ", ".join(f"{count:,} {name}" for name, count in manifest.totals.items()))
    if manifest.reasons:
        lines.append("  quarantined: " + ", ".join(f"{count:,} {name}" for name, count in manifest.reasons.items()))
    lines.append(f"  source: {manifest.source.get('name')} {manifest.source.get('path') or ''}".rstrip())
    lines.append(f"  root:   {manifest.root}")
    for split in manifest.splits:
        lines += ["", *_split(ShardSet(directory, split))]
    return "\n".join(lines)


def _split(shard_set: ShardSet) -> list[str]:
    heights, widths, sizes = [], [], []
    formats: Counter[str] = Counter()
    for index in shard_set.spread(_LOOKED_AT).tolist():
        data = shard_set.image(index)
        sizes.append(len(data))
        try:
            info = images.probe(data)
        except ImageError as error:
            formats[error.reason] += 1
            continue
        formats[info.format + (" progressive" if "progressive" in info.traits else "")] += 1
        heights.append(info.upright[0])
        widths.append(info.upright[1])
    lines = [f"{shard_set.split}: {shard_set.samples:,} samples in {len(shard_set.shards)} shards"]
    if heights:
        lines.append(f"  height   {_spread(heights)} px")
        lines.append(f"  width    {_spread(widths)} px")
    lines.append(f"  size     {_spread(sizes)} bytes")
    lines.append("  formats  " + ", ".join(f"{name} {count / len(sizes):.0%}" for name, count in formats.most_common()))
    if shard_set.classes:
        counts = Counter(shard_set.labels().tolist())
        named = [(shard_set.classes[label] if label >= 0 else "(none)", counts[label]) for label in sorted(counts)]
        shown = ", ".join(f"{name} {count:,}" for name, count in itertools.islice(named, _LISTED))
        more = f", and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
        lines.append(f"  labels   {shown}{more}")
    return lines


def _spread(values: list[int]) -> str:
    low, median, high = np.percentile(values, [0, 50, 100])
    return f"{low:,.0f} to {high:,.0f}, median {median:,.0f}"


def _amount(size: float) -> str:
    if size < 1000:
        return f"{size:,.0f} bytes"
    power = min(int(np.log10(size) // 3), 4)
    return f"{size / 1000**power:,.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"
