"""Labels of many samples at once, compared with one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.index import Index
from data_shards.reading import labels
from data_shards.reading.labels import number_in, read_labels


@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.none() | st.integers(-1, 12_345)), max_size=40),
    st.integers(64, 60_000),
)
def test_labels_read_together_are_those_read_one_by_one(samples: list[tuple[int, int | None]], most: int) -> None:
    content, offsets, sizes = bytearray(), [], []
    for gap, label in samples:
        content += bytes(gap)
        text = b"" if label is None else b"%d" % label
        offsets.append(-1 if label is None else len(content))
        sizes.append(len(text))
        content += text
    reads = []

    def read(offset: int, size: int) -> bytes:
        reads.append((offset, size))
        return bytes(content[offset : offset + size])

    rows = np.zeros(len(samples), np.int64)
    index = Index(rows, rows, np.array(offsets, np.int64), np.array(sizes, np.int64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_MOST", most)
        found = read_labels(index, read, int)
    assert found.tolist() == [-1 if label is None else label for _, label in samples]
    assert all(size <= most for _, size in reads)
    assert len(reads) <= sum(label is not None for _, label in samples)


def test_labels_of_small_images_take_few_reads() -> None:
    reads = []
    offsets = 3000 * np.arange(1, 1001)

    def read(offset: int, size: int) -> bytes:
        reads.append(size)
        return b"7" * size

    index = Index(offsets, offsets, offsets, np.ones(1000, np.int64))
    assert read_labels(index, read, int).tolist() == [7] * 1000
    assert len(reads) == 3


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"3", 3),
        (b" 012\n", 12),
        (b"-1", -1),
        (b"-7", -1),
        (b"cat", -1),
        (b"", -1),
        (b"\xff", -1),
        (b'{"label": 4}', 4),
        (b' {"label": "5"}', 5),
        (b'{"label": "cat"}', -1),
        (b'{"label": true}', -1),
        (b'{"label": 2.5}', -1),
        (b'{"label": null}', -1),
        (b'{"caption": "a"}', -1),
        (b'{"label": 4', -1),
    ],
)
def test_a_label_of_someone_else_is_a_number_or_none(text: bytes, number: int) -> None:
    assert number_in(text) == number
