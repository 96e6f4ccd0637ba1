"""webdataset's `ShardWriter`, fed from images that Pillow has looked at."""

from __future__ import annotations

import hashlib
import io
import os

import webdataset
from PIL import Image

from tests.benchmarks.side import serve, sync_files


def pack(source: str, out: str, look: str) -> int:
    """Write jpg, cls (where there are classes) and json of each image, the metadata that ours has; gives how many.

    `look` is what Pillow does with an image: `verify` (for a JPEG it reads the header) or `load` (it decodes).
    """
    os.makedirs(out)
    writer = webdataset.ShardWriter(f"{out}/train-%06d.tar", maxcount=10_000, maxsize=1e9, verbose=0)
    names = sorted(
        os.path.relpath(os.path.join(at, name), source) for at, _, found in os.walk(source) for name in found
    )
    classes = {label: number for number, label in enumerate(sorted({os.path.dirname(name) for name in names}))}
    for number, name in enumerate(names):
        with open(os.path.join(source, name), "rb") as file:
            data = file.read()
        image = Image.open(io.BytesIO(data))
        getattr(image, look)()
        width, height, label = image.width, image.height, os.path.dirname(name)
        story = {"source": name, "sha256": hashlib.sha256(data).hexdigest(), "format": "jpeg"}
        story |= {"width": width, "height": height, "split": "train"}
        key = f"{number:09d}-{os.path.splitext(name)[0].replace('/', '_')}"
        sample = {"__key__": key, "jpg": data, "json": story}
        if label:
            story["label"] = label
            sample["cls"] = classes[label]
        writer.write(sample)
    writer.close()
    sync_files(out)
    return len(names)


if __name__ == "__main__":
    serve(pack=pack)
