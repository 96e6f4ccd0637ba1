"""Names in pycls (`pycls/models/anynet.py`, `blocks.py`), which are ours but for the head."""

from __future__ import annotations

from pipeline.released.layouts.layout import STEM, Layout

_NAMES = ("proj", "bn", "f.a", "f.a_bn", "f.b", "f.b_bn", "f.se.f_ex.0", "f.se.f_ex.2", "f.c", "f.c_bn")

LAYERS = dict(zip(_NAMES, _NAMES, strict=True))
"""Every layer that a block may have."""

PYCLS = Layout(name="pycls", stem=STEM, block="s{stage}.b{block}", layers=LAYERS, classifier="head.fc")
