"""The labels of many samples at once: few reads, for one of each label would be most of the time.

Labels of small images lie close together, and one read takes many of them with the images between; labels of large
images are read one by one, as that costs less than reading everything.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data_shards.index import Index

_GAP = 16 << 10  # bytes between two labels that are read along
_MOST = 1 << 20  # bytes of one read


def read_labels(index: Index, read: Callable[[int, int], bytes], number: Callable[[bytes], int]) -> NDArray[np.int64]:
    """The label of each sample of a shard, -1 where it has none.

    `read(offset, size)` reads the shard, `number` understands a label.
    """
    labels = np.full(len(index), -1, np.int64)
    rows = np.flatnonzero(index.label_offset >= 0)
    begins = index.label_offset[rows]
    ends = begins + index.label_size[rows]
    apart = (begins[1:] < ends[:-1]) | (begins[1:] - ends[:-1] > _GAP)
    bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(rows)] if len(rows) else []
    starts, stops = begins.tolist(), ends.tolist()
    numbers: list[int] = []
    for first, last in itertools.pairwise(bounds):
        while first < last:
            start = starts[first]
            until = max(bisect.bisect_right(stops, start + _MOST, first, last), first + 1)
            content = read(start, stops[until - 1] - start)
            places = zip(starts[first:until], stops[first:until], strict=True)
            numbers += [number(content[begin - start : end - start]) for begin, end in places]
            first = until
    labels[rows] = numbers
    return labels


def number_in(text: bytes) -> int:
    """The label in someone else's `.cls`, or the `label` of his `.json`, where it is a number; -1 otherwise."""
    try:
        if not text.lstrip().startswith(b"{"):
            return max(int(text), -1)
        found = json.loads(text).get("label")
        return max(int(found), -1) if isinstance(found, int | str) and not isinstance(found, bool) else -1
    except (ValueError, RecursionError):
        return -1
