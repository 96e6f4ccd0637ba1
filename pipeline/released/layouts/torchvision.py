"""Names in torchvision (`torchvision/models/regnet.py`), whose blocks count from 0."""

from __future__ import annotations

from pipeline.released.layouts.layout import Layout

TORCHVISION = Layout(
    name="torchvision",
    stem=("stem.0", "stem.1"),
    block="trunk_output.block{stage}.block{stage}-{index}",
    layers={
        "proj": "proj.0",
        "bn": "proj.1",
        "f.a": "f.a.0",
        "f.a_bn": "f.a.1",
        "f.b": "f.b.0",
        "f.b_bn": "f.b.1",
        "f.se.f_ex.0": "f.se.fc1",
        "f.se.f_ex.2": "f.se.fc2",
        "f.c": "f.c.0",
        "f.c_bn": "f.c.1",
    },
    classifier="fc",
    left_out={r"(projection_head|prototypes)\.": "it belongs to SwAV's pretraining, around a network of torchvision"},
)
