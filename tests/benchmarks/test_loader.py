"""The sides of the loader's benchmark make the same crops, and what their workers cost is counted."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.benchmarks import inputs, side
from tests.benchmarks.rounds import Side
from tests.benchmarks.sides import our_views, recipe, with_torchvision
from tests.data_shards.pictures import jpeg


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return inputs.lay_out([jpeg(number, 96, 128) for number in range(3)], 32, tmp_path / "in")


def test_our_crops_and_torchvisions_have_the_recipes_sizes() -> None:
    image = Image.open(io.BytesIO(jpeg(0, 300, 400))).convert("RGB")
    for name, kinds in recipe.CROPS.items():
        sizes = [size for size, count, _ in kinds for _ in range(count)]
        assert [transform(image).shape[-1] for transform in with_torchvision.transforms_of(name)] == sizes
        config = our_views.config(name)
        assert [size for size, count in config.build().groups for _ in range(count)] == sizes
        assert (config.flip, config.jitter_probability, config.grayscale, config.blur) == (
            recipe.FLIP,
            recipe.JITTER,
            recipe.GREY,
            recipe.BLUR,
        )
        assert config.jitter_ranges == (recipe.STRENGTH, recipe.STRENGTH, recipe.STRENGTH, recipe.HUE)
        assert config.blur_sigma == recipe.SIGMA


def test_peers_in_our_environment_handle_every_image(folder: Path) -> None:
    core = min(os.sched_getaffinity(0))
    for name, jobs in (("our_views", ("views",)), ("with_torchvision", ("views",)), ("plain", ("decode_whole",))):
        with Side(name, core) as process:
            assert process.run("load", source=str(folder))["value"] == 32
            for job in jobs:
                arguments = {} if job == "decode_whole" else {"recipe": "seer"}
                assert process.run(job, source=str(folder), **arguments)["value"] == 32


def test_what_a_living_worker_costs_is_counted() -> None:
    before = side._processor()
    program = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        living = side._processor() - before
        worker.communicate(b"\n")
    assert living >= 0.25
    assert side._processor() - before >= 0.25


def test_photographs_are_made_smaller_and_larger() -> None:
    originals = [jpeg(number, 96, 128) for number in range(3)]
    small, large = inputs.reencoded(originals, 48), inputs.megapixels(originals)
    assert len(small) == len(large) == 3
    assert {min(Image.open(io.BytesIO(image)).size) for image in small} == {48}
    assert {Image.open(io.BytesIO(image)).size for image in large} == {(1152, 864)}
    assert len({np.asarray(Image.open(io.BytesIO(image))).tobytes() for image in large}) == 3


def test_torchvisions_side_gives_normalised_floats() -> None:
    torch.manual_seed(0)
    crop = with_torchvision.transforms_of("seer")[0](Image.new("RGB", (200, 200), (124, 116, 104)))
    assert crop.dtype == torch.float32
    assert crop.abs().max() < 3
