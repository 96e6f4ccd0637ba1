"""A checkpoint's backbone and classifier come back whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.artifacts import Artifact
from pipeline.checkpoints.state import OBJECTIVE
from pipeline.checkpoints.store import save
from pipeline.config import to_mapping
from pipeline.errors import ArtifactError
from pipeline.released import backbones
from tests.pipeline.released.test_imported import MODEL, network


def checkpoint(out: Path, tensors: dict[str, Tensor], classes: int) -> Artifact:
    saved = save(out, {OBJECTIVE: tensors}, step=1, consumed=1, keep=1)
    facts = {"checkpoint": str(saved.path.relative_to(out)), "model": to_mapping(MODEL)}
    names = [f"class{n}" for n in range(classes)]
    return Artifact(
        stage="x", kind="checkpoint", fingerprint="", content="", facts={**facts, "classes": names}, path=out
    )


def test_a_classifier_stands_beside_its_backbone(tmp_path: Path) -> None:
    whole = dict(network(3).state_dict())
    made = checkpoint(tmp_path, whole, 3)
    found = backbones.classifier(made)
    assert found is not None
    mine = {f"classifier.{name}": tensor for name, tensor in found.state_dict().items()}
    mine |= {f"backbone.{name}": tensor for name, tensor in backbones.load(made).state_dict().items()}
    assert mine.keys() == whole.keys()
    assert all(torch.equal(mine[name], tensor) for name, tensor in whole.items())


def test_without_classes_there_is_none(tmp_path: Path) -> None:
    assert backbones.classifier(checkpoint(tmp_path, dict(network(None).state_dict()), 0)) is None


@pytest.mark.parametrize("fault", ["another shape", "missing", "a stranger"])
def test_a_classifier_that_does_not_fit_is_one_sentence(fault: str, tmp_path: Path) -> None:
    tensors = dict(network(3).state_dict())
    if fault == "missing":
        del tensors["classifier.bias"]
    if fault == "a stranger":
        tensors["classifier.scale"] = torch.ones(3)
    made = checkpoint(tmp_path, tensors, 4 if fault == "another shape" else 3)
    with pytest.raises(ArtifactError, match=r"does not fit its own config: .*Classifier"):
        backbones.classifier(made)
