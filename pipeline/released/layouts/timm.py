"""Names in timm (`timm/models/regnet.py`)."""

from __future__ import annotations

from pipeline.released.layouts.layout import Layout

TIMM = Layout(
    name="timm",
    stem=("stem.conv", "stem.bn"),
    block="s{stage}.b{block}",
    layers={
        "proj": "downsample.conv",
        "bn": "downsample.bn",
        "f.a": "conv1.conv",
        "f.a_bn": "conv1.bn",
        "f.b": "conv2.conv",
        "f.b_bn": "conv2.bn",
        "f.se.f_ex.0": "se.fc1",
        "f.se.f_ex.2": "se.fc2",
        "f.c": "conv3.conv",
        "f.c_bn": "conv3.bn",
    },
    classifier="head.fc",
)
