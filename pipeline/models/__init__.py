"""Networks: a backbone gives features, a head on it serves an objective or a task.

To add a family of backbones: one file with a `Backbone` subclass and its `Config` (carrying `name`), and its place in
`AnyBackbone`, which then becomes `Annotated[RegNet.Config | Yours.Config, Field(discriminator="name")]`.
"""

from __future__ import annotations

from pipeline.models.backbone import Backbone
from pipeline.models.regnet import RegNet

AnyBackbone = RegNet.Config
"""The config of any backbone."""

__all__ = ["AnyBackbone", "Backbone", "RegNet"]
