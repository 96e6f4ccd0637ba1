"""Names in a checkpoint of this pipeline: pycls' below `backbone.`, and `classifier.`."""

from __future__ import annotations

from pipeline.released.layouts.layout import BACKBONE, CLASSIFIER, STEM, Layout
from pipeline.released.layouts.pycls import LAYERS

OURS = Layout(
    name="ours",
    stem=(BACKBONE + STEM[0], BACKBONE + STEM[1]),
    block=BACKBONE + "s{stage}.b{block}",
    layers=LAYERS,
    classifier=CLASSIFIER.removesuffix("."),
    left_out={r"(head|prototypes|queue)\.": "it belongs to the objective of pretraining"},
)
