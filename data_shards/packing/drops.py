"""Images of packed slices that turn out to repeat others: collected by slice, in files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards.packing.duplicates import Repeats, repeats_across
from data_shards.packing.folder import Packing
from data_shards.packing.near import LOOK, near_across
from data_shards.packing.records import BY_HASH, RECORDS, read_records

KINDS = ("exact", "near", "excluded")
_DROP = np.dtype([("number", "<u8"), ("of", "<u8"), ("kind", "u1")])
_ORDINARY = np.uint64(1 << 63)  # marks images of the packing among the looks, so that excluded ones come first


class Drops:
    """Finds what is to be dropped from the slices of a packing; `folder` is for files."""

    def __init__(self, packing: Packing, folder: Path) -> None:
        self.packing, self.folder = packing, folder
        folder.mkdir(exist_ok=True)
        for stale in folder.glob("slice-*"):
            stale.unlink()
        pieces = range(packing.listing.slices)
        settings = packing.settings
        if settings.duplicates != "keep" and len(pieces) > 1:
            for repeats in repeats_across([packing.work(piece) / BY_HASH for piece in pieces]):
                self._add(repeats.number, repeats.of, np.full(len(repeats.number), KINDS.index("exact"), np.uint8))
        if settings.duplicates == "near":
            for repeats in near_across(self._looks(), settings.near_bits, folder / "near"):
                self._add_near(repeats)

    def of(self, piece: int) -> NDArray[np.void]:
        """What is dropped from a slice, in the order of the listing: `number`, `of` and `kind`."""
        path = self._path(piece)
        lines = np.fromfile(path, _DROP) if path.exists() else np.empty(0, _DROP)
        return lines[np.argsort(lines["number"])]

    def _looks(self) -> Iterator[NDArray[np.void]]:
        """Perceptual hashes of all images that are not dropped yet, and of excluded ones; 0 equals no other."""
        yield _looks_of(*self.packing.excluded.looks())
        for piece in range(self.packing.listing.slices):
            records = read_records(self.packing.work(piece) / RECORDS)
            kept = records[~np.isin(records["number"], self.of(piece)["number"]) & (records["perceptual"] != 0)]
            yield _looks_of(kept["perceptual"], kept["number"] | _ORDINARY)

    def _add_near(self, repeats: Repeats) -> None:
        ours = (repeats.number & _ORDINARY) > 0
        number, of = repeats.number[ours] & ~_ORDINARY, repeats.of[ours]
        excluded = (of & _ORDINARY) == 0
        kind = np.where(excluded, KINDS.index("excluded"), KINDS.index("near")).astype(np.uint8)
        self._add(number, of & ~_ORDINARY, kind)

    def _add(self, number: NDArray[np.uint64], of: NDArray[np.uint64], kind: NDArray[np.uint8]) -> None:
        lines = np.empty(len(number), _DROP)
        lines["number"], lines["of"], lines["kind"] = number, of, kind
        piece = (number // np.uint64(self.packing.listing.slice_length)).astype(np.int64)
        order = np.argsort(piece, kind="stable")
        lines, piece = lines[order], piece[order]
        for begin, end in itertools.pairwise([*np.unique(piece, return_index=True)[1].tolist(), len(lines)]):
            with open(self._path(int(piece[begin])), "ab") as file:
                lines[begin:end].tofile(file)

    def _path(self, piece: int) -> Path:
        return self.folder / f"slice-{piece:06d}"


def _looks_of(hashes: NDArray[np.uint64], numbers: NDArray[np.uint64]) -> NDArray[np.void]:
    looks = np.empty(len(hashes), LOOK)
    looks["hash"], looks["number"] = hashes, numbers
    return looks
