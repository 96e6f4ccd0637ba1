"""DALI without a GPU, one thread, bytes out as ours.

It changes brightness, contrast, saturation and hue at once by one matrix, which is less work than one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from tests.benchmarks.side import serve
from tests.benchmarks.sides.recipe import BATCH, BLUR, CROPS, FLIP, GREY, HUE, JITTER, SIGMA, STRENGTH, load, loaded

_PIPELINES: dict[tuple[str, str], Any] = {}


# Nothing runs ahead: what is made in a round is made inside the clock.
@pipeline_def(
    batch_size=BATCH,
    num_threads=1,
    device_id=None,
    enable_conditionals=True,
    exec_async=False,
    exec_pipelined=False,
    prefetch_queue_depth=1,
)
def crops(source: Any, recipe: str) -> Any:
    """All crops of a batch of encoded images."""
    encoded = fn.external_source(source=source, dtype=types.UINT8, ndim=1)
    images = fn.decoders.image(encoded, device="cpu")
    found = []
    for size, count, scale in CROPS[recipe]:
        for _ in range(count):
            crop = fn.random_resized_crop(images, size=size, random_area=scale, random_aspect_ratio=(3 / 4, 4 / 3))
            if fn.random.coin_flip(probability=FLIP, dtype=types.BOOL):
                crop = fn.flip(crop)
            if fn.random.coin_flip(probability=JITTER, dtype=types.BOOL):
                low, high = 1 - STRENGTH, 1 + STRENGTH
                crop = fn.color_twist(
                    crop,
                    brightness=fn.random.uniform(range=(low, high)),
                    contrast=fn.random.uniform(range=(low, high)),
                    saturation=fn.random.uniform(range=(low, high)),
                    hue=fn.random.uniform(range=(-360 * HUE, 360 * HUE)),
                )
            if fn.random.coin_flip(probability=GREY, dtype=types.BOOL):
                crop = fn.saturation(crop, saturation=0.0)
            if fn.random.coin_flip(probability=BLUR, dtype=types.BOOL):
                crop = fn.gaussian_blur(crop, sigma=fn.random.uniform(range=SIGMA))
            found.append(crop)
    return tuple(found)


def views(source: str, recipe: str) -> int:
    """The crops of each image in memory, a whole number of batches; gives how many images."""
    images = [np.frombuffer(image, np.uint8) for image in loaded(source)]
    if (source, recipe) not in _PIPELINES:

        def batch(number: int) -> list[Any]:
            first = number * BATCH
            return [images[(first + row) % len(images)] for row in range(BATCH)]

        _PIPELINES[source, recipe] = crops(batch, recipe)
        _PIPELINES[source, recipe].build()
    for _ in range(len(images) // BATCH):
        _PIPELINES[source, recipe].run()
    return len(images) // BATCH * BATCH


if __name__ == "__main__":
    serve(load=load, views=views)
