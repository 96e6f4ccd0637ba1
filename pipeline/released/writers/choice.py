"""Which libraries a network is written for: those asked for, or all that have one like it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.released.writers import WRITERS
from pipeline.released.writers.writer import missing


def choose(model: RegNet.Config, asked: Sequence[str] | None, where: str) -> tuple[list[str], dict[str, str]]:
    """Names of the writers, and why each other one is left out.

    Asked for by name, a library that has no such network or is not installed is an `ArtifactError`; `where` is the
    checkpoint that it names. A library that is only needed for the check may be missing where nobody asked.
    """
    obstacles = {name: why for name, writer in WRITERS.items() if (why := writer.obstacle(model))}
    if asked is None:
        absent = {name: missing(writer.writes_with) for name, writer in WRITERS.items()}
        left_out = {name: _not_installed(packages) for name, packages in absent.items() if packages} | obstacles
        return [name for name in WRITERS if name not in left_out], left_out
    for name in asked:
        writer = WRITERS[name]
        if name in obstacles:
            fit = [other for other in WRITERS if other not in obstacles]
            raise ArtifactError(
                where,
                f"cannot be written for {writer.title}: {obstacles[name]}",
                f"leave {name} out of layouts; {', '.join(fit)} have such a network",
            )
        if packages := missing((*writer.writes_with, *writer.opens_with)):
            raise ArtifactError(
                f"layouts: {name}",
                f"cannot be written and checked without {' and '.join(packages)}",
                "install it, or leave it out",
                f"pip install {' '.join(packages)}",
            )
    return list(asked), {}


def _not_installed(packages: Sequence[str]) -> str:
    return f"{' and '.join(packages)} {'are' if len(packages) > 1 else 'is'} not installed"
