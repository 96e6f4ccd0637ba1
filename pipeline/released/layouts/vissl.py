"""Names in VISSL, whose trunk is ClassyVision's RegNet (`vissl/models/trunks/regnet*.py`, `heads/*.py`).

A file of VISSL keeps trunk and heads apart, below `classy_state_dict.base_model.model`; here a name says which it is
of: `trunk._feature_blocks.…`, `heads.0.clf.0.weight`. Without that word it is read too.

`regnet_v2` and `regnet_fsdp`, and so the 10B, have blocks in groups that are recomputed together: a level
`block3-part1.` more. It is read, and not written: the groups are those of VISSL's recipe and not of the weights.
"""

from __future__ import annotations

from pipeline.released.layouts.layout import Layout

VISSL = Layout(
    name="vissl",
    stem=("trunk._feature_blocks.conv1.stem.0", "trunk._feature_blocks.conv1.stem.1"),
    block="trunk._feature_blocks.res{after}.block{stage}-{index}",
    layers={
        "proj": "proj",
        "bn": "bn",
        "f.a": "f.a.0",
        "f.a_bn": "f.a.1",
        "f.b": "f.b.0",
        "f.b_bn": "f.b.1",
        "f.se.f_ex.0": "f.se.excitation.0",
        "f.se.f_ex.2": "f.se.excitation.2",
        "f.c": "f.c",
        "f.c_bn": "f.final_bn",
    },
    classifier="heads.0.clf.0",
    spellings={r"(?<=\.)block\d+-part\d+\.": "", r"^(?=_feature_blocks\.)": "trunk.", r"^(?=\d+\.)": "heads."},
    left_out={
        r"heads\.\d+\.projection_head\.": "it is the projection head of pretraining",
        r"heads\.\d+\.prototypes\d*\.": "it holds the prototypes of pretraining",
        r"heads\.\d+\.(channel_bn|clf\.clf)\.": "it is a linear probe with a BatchNorm of its own",
        r"heads\.": "it is a head, and no classifier of one layer on the features",
    },
)
