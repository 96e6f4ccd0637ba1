"""Pictures for the page: samples of each split, evenly spread, and what can still be drawn of rejected images."""

from __future__ import annotations

import itertools
from pathlib import Path

from data_shards.inspect.look import SplitLook, read_image, spread
from data_shards.inspect.thumbnails import HEIGHT, Thumbnail, remains, thumbnail
from data_shards.manifest import Manifest
from data_shards.markup import Html, join, tag
from data_shards.quarantined import Originals, Rejected, rejected

_SAMPLES, _REJECTS = 36, 24  # pictures of all splits, and of the quarantine
_PER_REASON = 8
_TRIED = 5000  # lines of the ledger that are read
_TOO_LARGE = 64 << 20  # bytes of a rejected image that is not even opened


def samples(directory: Path, splits: list[SplitLook]) -> Html | None:
    """Some samples of each split, upright, in their order."""
    groups = []
    for found in splits:
        pictures = []
        for look in spread(found.looks, max(6, _SAMPLES // len(splits))):
            try:
                small = thumbnail(read_image(directory, look))
            except OSError:
                small = None
            if small is not None:
                title = f"{look.source}\n{look.width}×{look.height} {look.format}, {look.shard}"
                pictures.append(_picture(small, look.label or "", title))
        if pictures:
            head = tag("h3", found.split) if len(splits) > 1 else None
            groups.append(tag("div", head, tag("div", *pictures, class_="pictures"), class_="group"))
    return join(groups) or None


def rejects(directory: Path, manifest: Manifest) -> Html | None:
    """Rejected images of every reason: pictures where something can be drawn, else a line of what the ledger says.

    Raises `ShardError` where the ledger is damaged.
    """
    originals = Originals(directory)
    pictures: list[Html] = []
    lines: dict[str, list[Html]] = {}
    drawn: dict[str, int] = {}
    for entry in itertools.islice(rejected(directory), _TRIED):
        small = None
        if len(pictures) < _REJECTS and drawn.get(entry.reason, 0) < _PER_REASON:
            small = _drawn(originals, entry)
        if small is not None:
            drawn[entry.reason] = drawn.get(entry.reason, 0) + 1
            pictures.append(_picture(small, entry.reason.replace("_", " "), f"{entry.source}\n{entry.detail}"))
        elif len(lines.get(entry.reason, ())) < 3:
            detail = tag("span", f" {entry.detail}", class_="soft") if entry.detail else None
            lines.setdefault(entry.reason, []).append(tag("li", tag("code", entry.source), detail))
        if len(pictures) == _REJECTS and all(len(lines.get(reason, ())) == 3 for reason in manifest.reasons):
            break
    originals.close()
    listed = []
    for reason, some in lines.items():
        head = tag("dt", reason.replace("_", " "), f", {manifest.reasons.get(reason, 0):,}")
        listed.append(tag("div", head, tag("dd", tag("ul", *some))))
    parts = [
        tag("div", *pictures, class_="pictures") if pictures else None,
        tag("dl", *listed, class_="reasons") if listed else None,
    ]
    return join(parts)


def _drawn(originals: Originals, entry: Rejected) -> Thumbnail | None:
    if not entry.bytes or entry.bytes > _TOO_LARGE:
        return None
    try:
        image = originals.read(entry)
    except (OSError, ValueError):
        return None
    return None if image is None else remains(image)


def _picture(small: Thumbnail, caption: str, title: str) -> Html:
    """A picture at half its pixels; a few pixels are shown enlarged, for they are all there is."""
    height = HEIGHT // 2
    few = small.height < height
    width = max(1, round(small.width * height / small.height))
    image = tag(
        "img",
        src=small.source,
        alt=title,
        width=width,
        height=height,
        loading="lazy",
        class_="pixels" if few else None,
    )
    return tag("figure", image, tag("figcaption", caption) if caption else None, title=title, style=f"width:{width}px")
