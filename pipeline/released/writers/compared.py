"""One folder: written, opened again as a stranger would, and compared before it counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.released.writers.writer import Release, Writer, missing


def write_compared(
    writer: Writer, release: Release, folder: Path, images: Tensor, expected: Tensor, tolerance: float
) -> float | None:
    """Write `folder` and give its largest difference from `expected`; None where nothing here can open it.

    Raises `ArtifactError` if the outputs differ by more than `tolerance`, which the writer may widen; then no folder
    is left.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        writer.write(release, folder)
        if missing(writer.opens_with):
            return None
        found = difference(writer.outputs(release, folder, images), expected)
        check(found, tolerance * writer.slack, f"{folder}")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return found


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference, as a share of the largest output where that is above 1; infinite between shapes."""
    if found.shape != expected.shape:
        return float("inf")
    scale = max(1.0, float(expected.abs().max()))
    with torch.no_grad():
        return float((found - expected).abs().max()) / scale


def check(found: float, tolerance: float, where: str) -> None:
    """Raises `ArtifactError` for a difference above `tolerance`, or one that is no number."""
    if not found <= tolerance:
        raise ArtifactError(where, f"differs from its checkpoint by {found:.1e}", f"at most {tolerance:.0e} is allowed")
