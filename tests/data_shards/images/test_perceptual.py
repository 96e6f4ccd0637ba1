"""Near duplicates are near, other pictures far; the hash itself is compared with its definition in exact fractions."""

from __future__ import annotations

import io
import tarfile
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_shards import images
from data_shards.images import perceptual
from data_shards.images.perceptual import THRESHOLD, distance, hash_image, perceptual_hash, scale_for_hash
from tests.data_shards.kinds import KINDS, detailed, exif, with_segment
from tests.data_shards.pictures import encode, jpeg, pixels

PHOTOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "imagenet-sample.tar"


def by_definition(picture: np.ndarray) -> int:
    """The hash in whole numbers and fractions only, cosine by cosine."""
    height, width, _ = picture.shape
    grey = [[sum(int(v) * w for v, w in zip(p, (299, 587, 114), strict=True)) for p in row] for row in picture]

    def shares(length: int) -> list[list[Fraction]]:
        edges = [Fraction(area * length, 16) for area in range(17)]
        return [
            [max(Fraction(0), min(Fraction(i + 1), edges[a + 1]) - max(Fraction(i), edges[a])) for i in range(length)]
            for a in range(16)
        ]

    rows, columns = shares(height), shares(width)
    along = [[sum(grey[y][x] * share[x] for x in range(width) if share[x]) for share in columns] for y in range(height)]
    means = [
        [sum(along[y][c] * share[y] for y in range(height) if share[y]) * 256 // (height * width) for c in range(16)]
        for share in rows
    ]
    cosines = [[round(np.cos(np.pi * k * (2 * n + 1) / 32) * 1024) for n in range(16)] for k in range(11)]
    found = 0
    for row, column in [(v, d - v) for d in range(1, 11) for v in range(d + 1)][:64]:
        total = sum(cosines[row][y] * cosines[column][x] * means[y][x] for y in range(16) for x in range(16))
        found = found << 1 | (total > 0)
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1 << 30))
def test_the_hash_is_its_definition(height: int, width: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert perceptual_hash(picture) == by_definition(picture)


def test_rounding_the_cosines_depends_on_no_machine() -> None:
    frequency, place = np.arange(11)[:, None], np.arange(16)[None]
    exact = np.cos(np.pi * frequency * (2 * place + 1) / 32) * 1024
    assert np.abs(np.abs(exact - np.floor(exact)) - 0.5).min() > 1e-3, "no cosine lies where libraries may disagree"


def test_the_hashes_of_some_pictures_stay() -> None:
    assert [perceptual_hash(pixels(seed, 50, 70)) for seed in range(3)] == [
        0xF80376CD56D27600,
        0xD39E8D22A00F0E7D,
        0x76A260F56EC2A501,
    ]


@pytest.mark.parametrize("value", [0, 77, 255])
@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (300, 400)])
def test_a_picture_without_contrast_hashes_to_nothing(value: int, shape: tuple[int, int]) -> None:
    assert perceptual_hash(np.full((*shape, 3), value, np.uint8)) == 0


def test_a_large_picture_hashes_like_a_small_one() -> None:
    small = pixels(1, 60, 80)
    large = np.asarray(Image.fromarray(small).resize((2400, 1800), Image.Resampling.BICUBIC))
    assert distance(perceptual_hash(small), perceptual_hash(large)) <= 2


def test_distance_counts_bits() -> None:
    assert distance(0, 0) == 0
    assert distance(0b1011, 0b0010) == 2
    assert distance(0, (1 << 64) - 1) == 64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", ["header", "strict", "full"])
def test_the_hash_does_not_depend_on_how_the_image_was_probed(kind: str, depth: images.Probe) -> None:
    data = KINDS[kind][0]
    info, seen = images.judge(data, depth)
    assert hash_image(data, info, seen) == hash_image(data)


def test_the_pixels_of_a_strict_probe_serve_where_they_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = jpeg(1, 200, 300), with_segment(jpeg(1, 256, 300), 0xE1, exif(6))
    assert scale_for_hash(images.probe(small)) == 4
    assert scale_for_hash(images.probe(large)) == 8
    assert scale_for_hash(images.probe(jpeg(1, 9, 300))) == 1
    expected = hash_image(large)
    info, seen = images.judge(large)
    monkeypatch.setattr(perceptual, "decode", None)
    assert hash_image(large, info, seen) == expected
    with pytest.raises(TypeError):
        hash_image(small, *images.judge(small))


def test_turning_by_exif_is_seen_through() -> None:
    picture = detailed(260, 330)
    stored = np.ascontiguousarray(np.rot90(picture))  # a quarter to the left; orientation 6 turns it back
    turned = with_segment(encode(stored, quality=95), 0xE1, exif(6))
    assert distance(hash_image(turned), hash_image(encode(picture, quality=95))) <= 1


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="needs the photographs in ../shared")
def test_photographs_are_told_from_each_other_and_found_again() -> None:
    with tarfile.open(PHOTOGRAPHS) as tar:
        files = [tar.extractfile(member) for member in tar.getmembers() if member.isfile()][::3]
        photographs = [file.read() for file in files if file is not None]
    hashes = [hash_image(data) for data in photographs]
    assert min(distance(a, b) for a, b in combinations(hashes, 2)) > 12
    bits = np.array([[value >> bit & 1 for bit in range(64)] for value in hashes])
    assert (np.abs(bits.mean(0) - 0.5) < 0.3).all(), "every bit tells something"
    for change, found in (
        (lambda image: (image, 50), 0.97),
        (lambda image: (image.resize((image.width // 2, image.height // 2)), 90), 0.95),
        (lambda image: (image.resize((256, round(256 * image.height / image.width))), 85), 0.9),
    ):
        near = 0
        for data, value in zip(photographs, hashes, strict=True):
            with Image.open(io.BytesIO(data)) as image:
                picture, quality = change(image.convert("RGB"))
            near += distance(value, hash_image(encode(picture, quality=quality))) <= THRESHOLD
        assert near >= found * len(photographs)
