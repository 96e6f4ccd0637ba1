"""Our crops as the other loaders take a transform: one encoded image in, arrays of its own out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_shards.batch import Draw
from data_shards.images import encode_jpeg
from pipeline.views import MultiCrop


class OurTransform:
    """SEER's crops of an image, (views, size, size, 3) uint8 for each size."""

    def __init__(self) -> None:
        self.transform, self.drawn = MultiCrop.Config().build(), 0
        self(encode_jpeg(np.zeros((8, 8, 3), np.uint8)))  # so that a forked worker finds the kernels compiled

    def __call__(self, image: bytes) -> tuple[NDArray[np.uint8], ...]:
        self.drawn += 1
        arrays = self.transform.allocate(1)
        self.transform.write(image, Draw(0, 0, self.drawn), arrays, 0)
        return tuple(array[:, 0] for array in arrays)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return OurTransform, ()
