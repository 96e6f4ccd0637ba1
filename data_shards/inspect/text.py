"""What a shard set holds, as text for a terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from data_shards.inspect.look import SplitLook, look
from data_shards.manifest import Manifest
from data_shards.quarantined import printable

_LISTED = 12  # labels shown


def describe(directory: Path) -> str:
    """The manifest in words, and figures of some samples of each split. Raises `ShardError`."""
    manifest = Manifest.load(directory)
    lines = [f"{directory}: {amount(sum(shard.bytes for shard in manifest.shards))} in {len(manifest.shards)} shards"]
    lines.append("  " + ", ".join(f"{count:,} {name}" for name, count in manifest.totals.items()))
    for title, counts in (
        ("quarantined", manifest.reasons),
        ("duplicates", manifest.duplicates),
        ("traits", manifest.traits),
    ):
        if any(counts.values()):
            lines.append(f"  {title}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count))
    lines.append(f"  source: {manifest.source.get('name')} {manifest.source.get('path') or ''}".rstrip())
    lines.append(f"  root:   {manifest.root}")
    for entry in manifest.lineage:
        lines.append(f"  {entry.get('done')}: {entry.get('lost', 0)} lost, root before: {entry.get('root')}")
    for split in manifest.splits:
        lines += ["", *_split(look(directory, manifest, split))]
    return "\n".join(printable(line) for line in lines)


def amount(size: float) -> str:
    """Bytes in a unit that fits."""
    if size < 1000:
        return f"{size:,.0f} bytes"
    power = min(int(np.log10(size) // 3), 5)
    return f"{size / 1000**power:,.1f} {('kB', 'MB', 'GB', 'TB', 'PB')[power - 1]}"


def _split(found: SplitLook) -> list[str]:
    seen = f", of which {len(found.looks):,} were looked at" if len(found.looks) < found.samples else ""
    lines = [f"{found.split}: {found.samples:,} samples in {found.shards} shards{seen}"]
    if found.unread:
        lines.append(f"  {len(found.unread)} shards cannot be read, among them {found.unread[0]}")
    if found.looks:
        lines.append(f"  height   {_range([look.height for look in found.looks])} px")
        lines.append(f"  width    {_range([look.width for look in found.looks])} px")
        lines.append(f"  size     {_range([look.image.size for look in found.looks])} bytes")
        formats = Counter(look.format for look in found.looks)
        shares = ", ".join(f"{name} {count / len(found.looks):.0%}" for name, count in formats.most_common())
        lines.append(f"  formats  {shares}")
    if found.labels:
        shown = ", ".join(f"{name or '(none)'} {count:,}" for name, count in sorted(found.labels.items())[:_LISTED])
        more = f", and {len(found.labels) - _LISTED} more" if len(found.labels) > _LISTED else ""
        lines.append(f"  labels   {'' if found.labels_are_exact else 'about '}{shown}{more}")
    return lines


def _range(values: list[int]) -> str:
    low, median, high = np.percentile(values, [0, 50, 100])
    return f"{low:,.0f} to {high:,.0f}, median {median:,.0f}"
