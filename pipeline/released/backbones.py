"""The backbone inside a checkpoint artifact, built from the config it carries and loaded whole."""

from __future__ import annotations

from pipeline import config
from pipeline.artifacts import Artifact
from pipeline.checkpoints.store import read_tensors
from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.views import Evaluation

BACKBONE = "backbone."


def architecture(checkpoint: Artifact) -> RegNet.Config:
    """The backbone's config that a checkpoint records."""
    return config.build(RegNet.Config, checkpoint.facts["model"])


def view(checkpoint: Artifact) -> Evaluation.Config:
    """How the checkpoint wants pictures to be shown to it; the usual way where it does not say."""
    return config.build(Evaluation.Config, checkpoint.facts.get("view") or {})


def load(checkpoint: Artifact) -> RegNet:
    """The backbone of a checkpoint, on the CPU. Raises `ArtifactError` if names or shapes differ."""
    backbone = architecture(checkpoint).build()
    path = checkpoint.path / str(checkpoint.facts["checkpoint"])
    try:
        backbone.load_state_dict(read_tensors(path, BACKBONE))
    except RuntimeError as error:
        raise ArtifactError(
            str(path), f"does not fit its own config: {' '.join(str(error).split())}", "run its stage again"
        ) from None
    return backbone
