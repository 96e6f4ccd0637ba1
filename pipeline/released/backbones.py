"""The backbone inside a checkpoint artifact, and its classifier: built from what it records and loaded whole."""

from __future__ import annotations

from torch import nn

from pipeline import config
from pipeline.artifacts import Artifact
from pipeline.checkpoints.store import read_tensors
from pipeline.errors import ArtifactError
from pipeline.models.heads import Classifier
from pipeline.models.regnet import RegNet
from pipeline.released.layouts import BACKBONE, CLASSIFIER
from pipeline.views import Evaluation


def architecture(checkpoint: Artifact) -> RegNet.Config:
    """The backbone's config that a checkpoint records."""
    return config.build(RegNet.Config, checkpoint.facts["model"])


def view(checkpoint: Artifact) -> Evaluation.Config:
    """How the checkpoint wants pictures to be shown to it; the usual way where it does not say."""
    return config.build(Evaluation.Config, checkpoint.facts.get("view") or {})


def load(checkpoint: Artifact) -> RegNet:
    """The backbone of a checkpoint, on the CPU. Raises `ArtifactError` if names or shapes differ."""
    backbone = architecture(checkpoint).build()
    _fill(backbone, checkpoint, BACKBONE)
    return backbone


def classifier(checkpoint: Artifact) -> Classifier | None:
    """The classifier of a checkpoint, on the CPU; None where it has none. Raises `ArtifactError` as `load` does."""
    classes = checkpoint.facts.get("classes") or ()
    if not classes:
        return None
    found = Classifier(architecture(checkpoint).stages().widths[-1], len(classes))
    _fill(found, checkpoint, CLASSIFIER)
    return found


def _fill(network: nn.Module, checkpoint: Artifact, prefix: str) -> None:
    path = checkpoint.path / str(checkpoint.facts["checkpoint"])
    try:
        network.load_state_dict(read_tensors(path, prefix))
    except RuntimeError as error:
        raise ArtifactError(
            str(path), f"does not fit its own config: {' '.join(str(error).split())}", "run its stage again"
        ) from None
