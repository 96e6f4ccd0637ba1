"""What each library calls the tensors of a RegNet; pure functions over names, both ways.

A library that is new here is one file with its `Layout`, and its place in `LAYOUTS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.errors import ArtifactError
from pipeline.released.layouts.layout import BACKBONE, CLASSIFIER, Layout
from pipeline.released.layouts.ours import OURS
from pipeline.released.layouts.pycls import PYCLS
from pipeline.released.layouts.timm import TIMM
from pipeline.released.layouts.torchvision import TORCHVISION
from pipeline.released.layouts.transformers import TRANSFORMERS
from pipeline.released.layouts.vissl import VISSL

__all__ = ["BACKBONE", "CLASSIFIER", "LAYOUTS", "Layout", "recognise"]

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (OURS, PYCLS, TIMM, TORCHVISION, TRANSFORMERS, VISSL)}
"""Every layout by the name of its library."""

_OTHERS = {
    r"(.*\.)?layer1\.0\.conv1\.": "a ResNet",
    r"(.*\.)?blocks\.0\.attn\.|(.*\.)?encoder\.layer\.0\.attention\.": "a vision transformer",
    r"(.*\.)?final_conv\.|(.*\.)?s1\.b1\.conv2\.bn2\.|(.*\.)?s1\.b1\.norm\d?\.": "a RegNetV or RegNetZ of timm",
}
"""Networks that are none of ours, by a name that they have."""


def recognise(names: Iterable[str], where: str) -> Layout:
    """The layout of a file's tensors. Raises `ArtifactError` if they are of none, and says what they seem to be."""
    names = list(names)
    for layout in LAYOUTS.values():
        if layout.recognises(names):
            return layout
    right = f"a RegNet as {', '.join(LAYOUTS)} name it would be right"
    if not names:
        raise ArtifactError(where, "holds no tensors", right)
    if all(_above_a_backbone(name) for name in names):
        raise ArtifactError(where, f"holds a head and no backbone ({_some(names)})", right)
    for pattern, network in _OTHERS.items():
        if found := next((name for name in names if re.match(pattern, name)), None):
            raise ArtifactError(where, f"seems to hold {network} ({found})", right)
    raise ArtifactError(where, f"holds tensors that no layout known here has ({_some(names)})", right)


def _above_a_backbone(name: str) -> bool:
    return any(
        (layout.to_ours(name) or "").startswith(CLASSIFIER) or layout.reason(name) for layout in LAYOUTS.values()
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
