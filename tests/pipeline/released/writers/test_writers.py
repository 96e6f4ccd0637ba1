"""Every writer: what it writes opens in its library unchanged, by the very lines that the card gives."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from pipeline.models.regnet import RegNet
from pipeline.released.writers import WRITERS
from pipeline.released.writers.compared import write_compared
from pipeline.released.writers.writer import Release
from pipeline.stages import export
from tests.pipeline.released.writers.releases import CLASSES, CUSTOM, NAMED, SMALL, images, release, run

X = RegNet.Config(size="custom", widths=(16, 32), depths=(2, 1), strides=(1, 2), squeeze=0.0, group_width=8)
TORCHVISIONS = RegNet.Config(
    size="custom", widths=(32, 64, 160, 400), depths=(1, 2, 7, 12), group_width=16, squeeze=0.0
)
CASES = [
    ("timm", NAMED, CLASSES),
    ("timm", NAMED, ()),
    ("timm", RegNet.Config(size="regnetx_200mf", stem_width=16), CLASSES),
    ("timm", TORCHVISIONS, ()),
    ("torchvision", CUSTOM, CLASSES),
    ("torchvision", CUSTOM, ()),
    ("torchvision", SMALL, CLASSES),
    ("torchvision", RegNet.Config(size="regnety_400mf", stem_width=16), CLASSES),
    ("torchvision", TORCHVISIONS, ()),
    ("transformers", CUSTOM, CLASSES),
    ("transformers", CUSTOM, ()),
    ("transformers", X, CLASSES),
    ("onnx", X, ()),
    ("torch_export", X, ()),
]


def used(name: str, known: dict[str, object], made: Release, given: Tensor) -> Tensor:
    """The outputs of what a stranger has after the card's lines."""
    if name == "onnx":
        return torch.from_numpy(known[made.gives])
    model = known["model"]
    if name != "torch_export":
        model = model.eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        found = model(given)  # type: ignore[operator]
    if name == "transformers":
        return found.logits if made.classes else found.pooler_output.flatten(1)
    return found


@pytest.mark.parametrize(("name", "model", "classes"), CASES)
def test_the_cards_lines_open_what_was_written(
    name: str, model: RegNet.Config, classes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = WRITERS[name]
    for package in (*writer.writes_with, *writer.opens_with):
        pytest.importorskip(package)
    made, given = release(model, classes), images()
    assert writer.obstacle(model) is None
    with torch.no_grad():
        expected = made.network(given)
    assert expected.std() > 0.01
    monkeypatch.chdir(tmp_path)
    assert write_compared(writer, made, Path(name), images(2), expected[:2], 1e-5) == pytest.approx(0, abs=1e-5)
    known = run(writer.usage(made, name), images=given.numpy())
    torch.testing.assert_close(used(name, known, made, given), expected, rtol=1e-5, atol=1e-5)


def test_a_recipe_may_ask_for_every_writer() -> None:
    assert get_args(export.Layout) == tuple(WRITERS)
