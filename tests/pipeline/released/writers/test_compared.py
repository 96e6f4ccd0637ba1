"""A folder counts only when its outputs are those of the checkpoint; otherwise nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.released.writers.compared import difference, write_compared
from pipeline.released.writers.writer import Release, Writer
from tests.pipeline.released.writers.releases import release


class Fixed(Writer):
    """Gives the outputs that it was made with."""

    title = "a library"

    def __init__(self, found: Tensor) -> None:
        self.found = found

    def write(self, release: Release, folder: Path) -> None:
        assert not list(folder.iterdir()), "the folder is empty"
        (folder / "file").write_text("weights")

    def outputs(self, release: Release, folder: Path, images: Tensor) -> Tensor:
        if not isinstance(self.found, Tensor):
            raise self.found
        return self.found

    def usage(self, release: Release, folder: str) -> str:
        return ""


class Absent(Fixed):
    opens_with = ("no_such_package",)


EXPECTED = torch.tensor([[0.1, 0.2], [0.3, -0.4]])


def written(writer: Writer, folder: Path) -> float | None:
    return write_compared(writer, release(), folder, torch.zeros(2, 3, 4, 4), EXPECTED, 1e-5)


def test_equal_outputs_are_kept(tmp_path: Path) -> None:
    assert written(Fixed(EXPECTED + 5e-6), tmp_path / "a") == pytest.approx(5e-6, rel=0.01)
    assert (tmp_path / "a" / "file").exists()


@pytest.mark.parametrize(
    "found", [EXPECTED + 1e-4, EXPECTED * torch.nan, EXPECTED[:, :1], EXPECTED.T, torch.zeros(2, 2)]
)
def test_other_outputs_are_an_error_and_leave_nothing(found: Tensor, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "of an earlier run").write_text("")
    with pytest.raises(ArtifactError, match="differs from its checkpoint by"):
        written(Fixed(found), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_either(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        written(Fixed(KeyError("x")), tmp_path / "a")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_opened_here_stays_and_is_not_called_checked(tmp_path: Path) -> None:
    assert written(Absent(EXPECTED), tmp_path / "a") is None
    assert (tmp_path / "a" / "file").exists()


def test_large_outputs_are_compared_by_their_share() -> None:
    assert difference(EXPECTED * 1000 + 0.004, EXPECTED * 1000) == pytest.approx(1e-5, rel=0.01)
    assert difference(EXPECTED / 1000 + 1e-6, EXPECTED / 1000) == pytest.approx(1e-6, rel=0.01)
