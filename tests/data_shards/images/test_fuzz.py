"""Ten thousand damaged images go through everything that looks at an image: each is accepted and decodes, or is named.

Seeded, so that a failure comes again: its number and the image it was made from are in the message.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from data_shards import images
from data_shards.errors import ImageError
from data_shards.images import Probe
from data_shards.images.formats import REASONS, TRAITS
from data_shards.images.perceptual import hash_image
from data_shards.images.treat import Treatment, treat
from tests.data_shards.kinds import KINDS, REFUSED, has_turbojpeg
from tests.data_shards.peak import memory_below

COUNT = 30_000
MAX_PIXELS = 200_000
SOURCES = [image for image, _ in (*KINDS.values(), *REFUSED.values()) if image]
TREATMENTS = (
    Treatment(),
    Treatment(max_side=24, progressive="recode" if has_turbojpeg() else "keep"),
    Treatment(animated="reject", progressive="recode" if has_turbojpeg() else "keep"),
)


def flip(image: bytearray, draw: random.Random) -> None:
    """One to ten bits turned over."""
    for _ in range(draw.randint(1, 10)):
        image[draw.randrange(len(image))] ^= 1 << draw.randrange(8)


def head(image: bytearray, draw: random.Random) -> None:
    """Bytes of the header set to the values at which arithmetic goes wrong."""
    for _ in range(draw.randint(1, 4)):
        image[draw.randrange(min(len(image), 64))] = draw.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))


def far(image: bytearray, draw: random.Random) -> None:
    """A number of two or four bytes, somewhere, made huge or nothing: sizes, offsets, counts."""
    at, size = draw.randrange(len(image)), draw.choice((2, 4))
    image[at : at + size] = draw.choice((b"\xff", b"\0", b"\x7f")) * size


def cut(image: bytearray, draw: random.Random) -> None:
    """The end is missing."""
    del image[draw.randrange(len(image)) :]


def lose(image: bytearray, draw: random.Random) -> None:
    """A piece is missing."""
    at = draw.randrange(len(image))
    del image[at : at + draw.choice((1, 2, 4, 16, 512))]


def repeat(image: bytearray, draw: random.Random) -> None:
    """A piece comes twice."""
    at = draw.randrange(len(image))
    piece = image[at : at + draw.choice((1, 4, 64, 1024))]
    image[at:at] = piece


def zero(image: bytearray, draw: random.Random) -> None:
    """A block of a disk that was never written."""
    at = draw.randrange(len(image))
    image[at : at + 512] = bytes(min(512, len(image) - at))


def splice(image: bytearray, draw: random.Random) -> None:
    """The end of another image."""
    other = draw.choice(SOURCES)
    image[draw.randrange(len(image)) :] = other[draw.randrange(len(other)) :]


def disguise(image: bytearray, draw: random.Random) -> None:
    """The first bytes of another format: a wrong name is not looked at, a wrong beginning is."""
    count = draw.choice((3, 4, 8, 16, 30))
    image[:count] = draw.choice(SOURCES)[:count]


CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(flip, head, far, cut, lose, repeat, zero, splice, disguise),
)


def damaged() -> Iterator[tuple[str, bytes]]:
    """So many damaged images, with what was done to which."""
    draw = random.Random(20261125)
    for number, source in zip(range(COUNT), itertools.cycle(SOURCES), strict=False):
        image, names = bytearray(source), []
        for change in draw.choices(CHANGES, k=draw.choice((1, 1, 1, 2, 3))):
            if image:
                change(image, draw)
                names.append(change.__name__)
        yield f"{number} {' '.join(names)}", bytes(image)


def outcome(image: bytes, depth: Probe, treatment: Treatment) -> str:
    """What becomes of an image: the reason of its rejection, or `accepted` where it keeps every promise."""
    try:
        info, pixels = images.judge(image, depth, MAX_PIXELS)
        assert set(info.traits) <= set(TRAITS)
        assert info.width * info.height <= MAX_PIXELS
        stored, after = treat(image, info, treatment)
    except ImageError as error:
        return error.reason
    if depth == "header":
        return "accepted"
    assert pixels is not None
    if depth == "full":
        assert pixels.shape == (*info.upright, 3)
    assert 0 <= hash_image(image, info, pixels) < 1 << 64
    assert images.decode(stored, info=after).shape == (*after.upright, 3)
    if treatment.max_side:
        assert max(after.upright) <= treatment.max_side
    return "accepted"


def test_every_damaged_image_is_accepted_and_decodes_or_is_named(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    counts: Counter[str] = Counter()
    depths: tuple[Probe, ...] = ("strict", "full", "header")
    with memory_below(100 << 20), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for number, (name, image) in enumerate(damaged()):
            try:
                counts[outcome(image, depths[number // 3 % 3], TREATMENTS[number % 3])] += 1
            except Exception as error:
                raise AssertionError(f"image {name}") from error
    assert counts.total() == COUNT
    assert counts["accepted"] > COUNT // 10
    assert {"empty", "not_an_image", "unsupported_format", "truncated", "damaged", "too_many_pixels"} <= set(counts)
    assert set(counts) <= {"accepted", *REASONS}
    assert not heard
    assert not caplog.records
    assert capfd.readouterr() == ("", ""), "decoders keep quiet"


def test_a_file_is_judged_alike_whatever_becomes_of_warnings() -> None:
    def all_outcomes(action: str) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter(action)  # type: ignore[arg-type]
            return [outcome(image, "strict", TREATMENTS[0]) for _, image in itertools.islice(damaged(), 0, COUNT, 17)]

    assert all_outcomes("ignore") == all_outcomes("error")
