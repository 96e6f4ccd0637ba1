"""What is written for another library, and what a writer of it owes.

A writer says whether its library has a network like ours at all, writes one folder, opens that folder again through
the library, and says in two lines how others do. Nothing is called done before the outputs have been compared.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from pipeline.models.regnet import RegNet
from pipeline.released.safetensors import Network
from pipeline.views import Evaluation


@dataclass(frozen=True, kw_only=True)
class Release:
    """A network on the CPU in evaluation mode, with all that must travel with its weights."""

    network: Network
    model: RegNet.Config
    view: Evaluation.Config
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the scores; empty where there is no classifier."""

    @property
    def gives(self) -> str:
        """What the network makes of an image: scores of classes, or features."""
        return "scores" if self.classes else "features"


class Writer(abc.ABC):
    """One library or format. Its third-party package is imported when it is used, for it may not be installed."""

    title: ClassVar[str]
    """The library as it calls itself."""
    writes_with: ClassVar[tuple[str, ...]] = ()
    """Packages without which nothing can be written."""
    opens_with: ClassVar[tuple[str, ...]] = ()
    """Packages without which what was written cannot be checked."""
    slack: ClassVar[float] = 1.0
    """How many times the tolerance its outputs may differ by: more than 1 where other kernels than torch's compute."""
    remark: ClassVar[str] = ""
    """What to know of the check, in a sentence."""

    def obstacle(self, model: RegNet.Config) -> str | None:
        """Why the library has no network like this one; None where it has."""
        return None

    @abc.abstractmethod
    def write(self, release: Release, folder: Path) -> None:
        """Fill an empty folder."""

    @abc.abstractmethod
    def outputs(self, release: Release, folder: Path, images: Tensor) -> Tensor:
        """What the written network makes of normalised images (N, 3, size, size), opened as a stranger would."""

    @abc.abstractmethod
    def usage(self, release: Release, folder: str) -> str:
        """Markdown that says how the network is loaded from `folder`: a line each for import and loading."""


def missing(packages: tuple[str, ...]) -> list[str]:
    """Those of the packages that are not installed."""
    return [package for package in packages if find_spec(package) is None]


def python(*lines: str) -> str:
    """Lines of Python as Markdown."""
    return "\n".join(["```python", *lines, "```"])
