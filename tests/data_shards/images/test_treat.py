"""What is stored keeps its pixels or loses as little as said. Pillow and another JPEG reader are the oracles."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards import images
from data_shards.errors import ImageError, UserError
from data_shards.images import check, decode, recode
from data_shards.images.treat import Treatment, shrink, treat
from tests.data_shards.kinds import KINDS, detailed, exif, has_turbojpeg, rare_jpeg, with_segment
from tests.data_shards.pictures import encode, jpeg, pixels

needs_turbojpeg = pytest.mark.skipif(not has_turbojpeg(), reason="needs the package turbojpeg")
PROGRESSIVE = {
    "colour": encode(pixels(1, 60, 77), progressive=True, quality=85),
    "full colour": encode(pixels(2, 33, 41), progressive=True, subsampling="4:4:4"),
    "grey": encode(Image.fromarray(pixels(3, 20, 30)).convert("L"), progressive=True),
    "inks": encode(Image.fromarray(pixels(4, 20, 30)).convert("CMYK"), progressive=True),
    "rotated": with_segment(encode(pixels(5, 40, 30), progressive=True), 0xE1, exif(6)),
    "profile": encode(pixels(6, 40, 30), progressive=True, icc_profile=bytes(range(200))),
    "garbage": encode(pixels(7, 40, 30), progressive=True) + b"garbage",
}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal to noise ratio in dB."""
    return float(10 * np.log10(255**2 / max(((one.astype(float) - other) ** 2).mean(), 1e-9)))


@pytest.mark.parametrize("kind", KINDS)
def test_by_default_the_very_bytes_are_stored(kind: str) -> None:
    data = KINDS[kind][0]
    info = check(data)
    stored, after = treat(data, info, Treatment())
    assert stored is data
    assert after is info


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_image_of_any_kind_becomes_an_upright_jpeg(kind: str) -> None:
    data = KINDS[kind][0]
    info = check(data)
    stored, after = treat(data, info, Treatment(max_side=26))
    if max(info.upright) <= 26:
        assert stored is data
        return
    assert max(after.upright) == 26
    assert after == check(stored, "full")
    assert (after.format, after.orientation, after.traits) == ("jpeg", 1, ())
    height, width = info.upright
    assert after.height / after.width == pytest.approx(height / width, rel=0.03)
    assert psnr(decode(stored), np.asarray(Image.fromarray(decode(data)).resize(after.upright[::-1]))) > 22
    assert treat(data, info, Treatment(max_side=26)) == (stored, after), "the same bytes every time"


def test_only_larger_images_are_scaled() -> None:
    data = jpeg(1, 30, 40)
    info = check(data)
    assert treat(data, info, Treatment(max_side=40))[0] is data
    assert treat(data, info, Treatment(max_side=39))[1].upright == (29, 39)
    assert treat(data, info, Treatment(max_side=1))[1].upright == (1, 1)


def test_metadata_go_and_colour_is_subsampled() -> None:
    data = with_segment(encode(pixels(1, 64, 96), icc_profile=b"p" * 100), 0xE1, exif(6))
    stored, after = treat(data, check(data), Treatment(max_side=48, quality=70))
    assert after.upright == (48, 32)
    with Image.open(io.BytesIO(stored)) as image:
        assert not image.getexif()
        assert "icc_profile" not in image.info
        assert [component[1:3] for component in image.layer] == [(2, 2), (1, 1), (1, 1)]
    better = treat(data, check(data), Treatment(max_side=48, quality=95))[0]
    assert len(better) > len(stored)


@pytest.mark.parametrize("side", [400, 300, 200, 130, 90, 50])
def test_scaling_in_the_dct_loses_less_than_the_jpeg_that_follows(side: int) -> None:
    data = encode(detailed(480, 640), quality=95)
    info = check(data)
    shrunk = shrink(data, info, side)
    reference = np.asarray(Image.fromarray(decode(data)).resize(shrunk.shape[1::-1], Image.Resampling.LANCZOS))
    stored = decode(treat(data, info, Treatment(max_side=side))[0])
    assert psnr(shrunk, reference) > psnr(stored, shrunk)
    assert psnr(shrunk, reference) > 35


@pytest.mark.parametrize("shape", [(2000, 3), (3, 2000), (999, 1001), (64, 64), (1, 70)])
@pytest.mark.parametrize("side", [1, 7, 63])
def test_decoding_never_goes_below_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], side: int
) -> None:
    decoded: list[tuple[int, ...]] = []

    def spy(data: bytes, **options: object) -> np.ndarray:
        decoded.append((array := decode(data, **options)).shape)  # type: ignore[arg-type]
        return array

    monkeypatch.setattr("data_shards.images.treat.decode", spy)
    data = jpeg(1, *shape)
    shrunk = shrink(data, check(data), side)
    assert max(shrunk.shape) == max(side, 3)
    assert all(before >= after for before, after in zip(decoded[0], shrunk.shape, strict=True))


def test_of_several_frames_the_first_is_kept_or_all_rejected() -> None:
    for kind in ("gif animated", "png animated", "webp animated", "tiff pages"):
        data = KINDS[kind][0]
        info = check(data)
        assert treat(data, info, Treatment())[0] is data
        with pytest.raises(ImageError, match="animated"):
            treat(data, info, Treatment(animated="reject"))
    assert "animated" in images.REASONS
    still = KINDS["gif"][0]
    assert treat(still, check(still), Treatment(animated="reject"))[0] is still


@needs_turbojpeg
@pytest.mark.parametrize("name", PROGRESSIVE)
def test_a_progressive_jpeg_becomes_a_sequential_one_with_the_same_pixels(name: str) -> None:
    data = PROGRESSIVE[name]
    info = check(data)
    stored, after = treat(data, info, Treatment(progressive="recode"))
    assert "progressive" in info.traits
    assert after == info._replace(traits=tuple(trait for trait in info.traits if trait != "progressive"))
    assert after == check(stored, "full")
    assert np.array_equal(decode(stored), decode(data))
    with Image.open(io.BytesIO(stored)) as new, Image.open(io.BytesIO(data)) as old:
        assert np.array_equal(np.asarray(new), np.asarray(old)), "another decoder agrees"
        assert new.info.get("icc_profile") == old.info.get("icc_profile")
        assert new.getexif() == old.getexif()
        assert "progressive" not in new.info
    assert treat(data, info, Treatment(progressive="recode"))[0] == stored


@needs_turbojpeg
@pytest.mark.parametrize("name", PROGRESSIVE)
def test_every_coefficient_stays(tmp_path: Path, name: str) -> None:
    jpegio = pytest.importorskip("jpegio", reason="needs the package pyjpegio")
    coefficients = []
    for number, data in enumerate((PROGRESSIVE[name], recode.to_sequential(PROGRESSIVE[name]))):
        assert data is not None
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        read = jpegio.read(str(path))
        coefficients.append([*read.coef_arrays, *read.quant_tables])
    assert any(array.any() for array in coefficients[0])
    assert all(np.array_equal(one, other) for one, other in zip(*coefficients, strict=True))


@needs_turbojpeg
@pytest.mark.skipif(shutil.which("jpegtran") is None, reason="needs jpegtran (libjpeg-turbo-progs)")
@pytest.mark.parametrize("name", PROGRESSIVE)
def test_the_bytes_are_those_of_jpegtran(name: str) -> None:
    command = ["jpegtran", "-copy", "all", "-optimize"]
    expected = subprocess.run(command, input=PROGRESSIVE[name], stdout=subprocess.PIPE, check=True).stdout
    assert recode.to_sequential(PROGRESSIVE[name]) == expected


@needs_turbojpeg
def test_arithmetic_coding_becomes_huffman_coding_too() -> None:
    data = rare_jpeg(arithmetic=True, progressive=True)
    stored, after = treat(data, check(data), Treatment(progressive="recode"))
    assert after.traits == ()
    with Image.open(io.BytesIO(stored)) as image:
        assert np.array_equal(np.asarray(image), decode(data))


@needs_turbojpeg
def test_what_recoding_would_change_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import turbojpeg

    data = PROGRESSIVE["colour"]
    info = check(data)
    transform = turbojpeg.transform
    for wrong in (
        lambda data, **options: jpeg(1, 60, 77),
        lambda data, **options: transform(data, progressive=True),
        lambda data, **options: transform(data)[:-40],
        lambda data, **options: b"",
    ):
        monkeypatch.setattr(turbojpeg, "transform", wrong)
        assert treat(data, info, Treatment(progressive="recode")) == (data, info)


def test_recoding_without_its_package_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "turbojpeg", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    Treatment(max_side=10).require()
    with pytest.raises(UserError, match=r"^shard\.progressive: .*turbojpeg.*Next: pip install turbojpeg$"):
        Treatment(progressive="recode").require("shard.progressive")


@pytest.mark.parametrize("wrong", [{"max_side": 0}, {"max_side": 70_000}, {"quality": 0}, {"quality": 101}])
def test_impossible_treatments_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Treatment(**wrong)  # type: ignore[arg-type]
