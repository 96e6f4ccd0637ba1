"""Names in transformers (`models/regnet/modeling_regnet.py`).

Layers of a block are numbered, so the last convolution is the third in a RegNetX and the fourth in a RegNetY.
`RegNetForImageClassification` has `regnet.` before every name but the classifier's, `RegNetModel` has not; both read
names with it.
"""

from __future__ import annotations

from pipeline.released.layouts.layout import Layout

TRANSFORMERS = Layout(
    name="transformers",
    stem=("embedder.embedder.convolution", "embedder.embedder.normalization"),
    block="encoder.stages.{before}.layers.{index}",
    layers={
        "proj": "shortcut.convolution",
        "bn": "shortcut.normalization",
        "f.a": "layer.0.convolution",
        "f.a_bn": "layer.0.normalization",
        "f.b": "layer.1.convolution",
        "f.b_bn": "layer.1.normalization",
        "f.se.f_ex.0": "layer.2.attention.0",
        "f.se.f_ex.2": "layer.2.attention.2",
        "f.c": "layer.3.convolution",
        "f.c_bn": "layer.3.normalization",
    },
    without_squeeze={"f.c": "layer.2.convolution", "f.c_bn": "layer.2.normalization"},
    classifier="classifier.1",
    prefix="regnet.",
    spellings={r"^regnet\.": ""},
)
