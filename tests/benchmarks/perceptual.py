"""How well the perceptual hash tells near duplicates from other photographs, beside a difference hash.

    python -m tests.benchmarks.perceptual DIR

`DIR` holds photographs as JPEG. Each is compared with what becomes of it on the web, and with all the others.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data_shards.images import probe
from data_shards.images.perceptual import distance, hash_image


def changed(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What becomes of a photograph: saved again, made smaller, cropped."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = picture.size
    yield "saved at quality 50", jpeg(picture, 50)
    yield "saved at quality 20", jpeg(picture, 20)
    yield "half the size", jpeg(picture.resize((width // 2, height // 2), Image.Resampling.LANCZOS), 90)
    factor = 256 / min(width, height)
    short = (round(width * factor), round(height * factor))
    yield "short side 256 px", jpeg(picture.resize(short, Image.Resampling.BICUBIC), 85)
    yield "squeezed to 224×224", jpeg(picture.resize((224, 224), Image.Resampling.BICUBIC), 85)
    yield "brighter by 20 %", jpeg(picture.point(lambda value: min(255, value * 1.2)), 90)
    for share in (0.02, 0.05):
        x, y = round(width * share), round(height * share)
        yield f"cropped by {share:.0%} a side", jpeg(picture.crop((x, y, width - x, height - y)), 90)


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """A picture as JPEG."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def difference_hash(data: bytes) -> int:
    """The usual one: is each of 9×8 areas brighter than its left neighbour."""
    grey = Image.open(io.BytesIO(data)).convert("L").resize((9, 8), Image.Resampling.BOX)
    values = np.asarray(grey, np.int64)
    return int.from_bytes(np.packbits(values[:, 1:] > values[:, :-1]).tobytes(), "big")


def main(directory: Path) -> None:
    """Measure and print the table."""
    images = [path.read_bytes() for path in sorted(directory.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    images = [data for data in images if probe(data).format == "jpeg"]
    print(f"{len(images)} photographs\n{'bits that differ':<26}{'this hash':>24}{'difference hash':>24}")
    columns = []
    for hash_of in (hash_image, difference_hash):
        own = [hash_of(data) for data in images]
        found: dict[str, list[int]] = {}
        for data, before in zip(images, own, strict=True):
            for name, other in changed(data):
                found.setdefault(name, []).append(distance(before, hash_of(other)))
        others = [distance(a, b) for n, a in enumerate(own) for b in own[:n]]
        column = {
            name: f"{np.median(bits):.0f}, p95 {np.percentile(bits, 95):.0f}, most {max(bits)}"
            for name, bits in found.items()
        }
        column["two photographs"] = f"{np.median(others):.0f}, fewest {min(others)}"
        column["independent bits"] = f"{0.25 * 64**2 / np.var(others):.0f}"
        columns.append(column)
    for name in columns[0]:
        print(f"{name:<26}{columns[0][name]:>24}{columns[1][name]:>24}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
