"""SEER's released files by short names, and what is known of them that they do not say themselves.

Addresses, accuracies and the licence are those of VISSL's `projects/SEER/README.md` and `MODEL_ZOO.md`, and pictures
are shown as in its evaluation recipes (`configs/config/benchmark/`): 256 → 224 bilinear where a linear classifier is
trained, 384 bicubic without a margin for the fine-tuned ones. No hashes are published. timm and transformers have most
of them too, under names such as `timm/regnety_320.seer` and `facebook/regnet-y-320-seer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

_ZOO = "https://dl.fbaipublicfiles.com/vissl/model_zoo/"
_TUNED = _ZOO + "seer_finetuned/"
SEER_LICENCE = "SEER model licence: research, not commercial (vissl, projects/SEER/MODEL_LICENSE.md)"
AT_224: Mapping[str, Any] = {"size": 224, "resize": 256, "interpolation": "bilinear"}
AT_384: Mapping[str, Any] = {"size": 384, "resize": 384, "interpolation": "bicubic"}


@dataclass(frozen=True, kw_only=True)
class Known:
    """A released file."""

    url: str
    size: str
    """The network's size, as `model.size` names it."""
    what: str
    """What was learnt on, and how well, in a few words."""
    view: Mapping[str, Any] = field(default_factory=lambda: AT_224)
    """How it wants pictures shown: a mapping of `Evaluation.Config`."""
    licence: str = SEER_LICENCE
    """Empty where none is stated for the file."""
    imagenet: bool = False
    """Whether it has a classifier of ImageNet-1k's classes."""
    bgr: bool = False
    """Whether it takes blue, green, red."""


def _tuned(file: str, size: str, top1: float) -> Known:
    what = f"SEER, fine-tuned on ImageNet-1k at 384 px: {top1} % top-1"
    return Known(url=_TUNED + file, size=size, what=what, view=AT_384, imagenet=True)


_RG128 = "swav_ig1b_regnet128Gf_cnstant_bs32_node16_sinkhorn10_proto16k_syncBN64_warmup8k/"
_RG256 = "swav_ig1b_cosine_rg256gf_noBNhead_wd1e5_fairstore_bs16_node64_sinkhorn10_proto16k_apex_syncBN64_warmup8k/"
_FINAL = "model_final_checkpoint_phase0.torch"
_PRETRAINED = "SEER, a billion images of Instagram"

CATALOG: dict[str, Known] = {
    "seer_rg32": Known(
        url=_ZOO + "seer_regnet32d/seer_regnet32gf_model_iteration244000.torch", size="seer_rg32", what=_PRETRAINED
    ),
    "seer_rg64": Known(
        url=_ZOO + "seer_regnet64/seer_regnet64gf_model_final_checkpoint_phase0.torch",
        size="seer_rg64",
        what=_PRETRAINED,
    ),
    "seer_rg128": Known(url=_ZOO + _RG128 + _FINAL, size="seer_rg128", what=_PRETRAINED),
    "seer_rg256": Known(url=_ZOO + _RG256 + _FINAL, size="seer_rg256", what=_PRETRAINED),
    "seer_10b": Known(
        url=_ZOO + "seer_regnet10B/model_iteration124500_conso.torch", size="seer_10b", what=f"{_PRETRAINED}; 37 GB"
    ),
    "seer_rg32_in1k": _tuned("seer_regnet32_finetuned_in1k_model_final_checkpoint_phase78.torch", "seer_rg32", 83.4),
    "seer_rg64_in1k": _tuned("seer_regnet64_finetuned_in1k_model_final_checkpoint_phase78.torch", "seer_rg64", 84.0),
    "seer_rg128_in1k": _tuned("seer_regnet128_finetuned_in1k_model_final_checkpoint_phase78.torch", "seer_rg128", 84.5),
    "seer_rg256_in1k": _tuned("seer_regnet256_finetuned_in1k_model_final_checkpoint_phase38.torch", "seer_rg256", 85.2),
    "seer_10b_in1k": _tuned("seer_10b_finetuned_in1k_model_phase28_conso.torch", "seer_10b", 85.8),
    "swav_rg16_in1k": Known(
        url=_ZOO + "swav_regnet16_in1k/swav_in1k_regnet16gf_model_final_checkpoint_phase799.torch",
        size="seer_rg16",
        what="SwAV on ImageNet-1k",
        licence="",
    ),
    "swav_rg128_in1k": Known(
        url=_ZOO + "swav_regnet128_in1k/model_phase230.torch",
        size="seer_rg128",
        what="SwAV on ImageNet-1k",
        licence="",
    ),
    "sup_rg64_in1k": Known(
        url=_ZOO + "sup_regnet64/imnetlabels_regnety64gf_3_vissl_converted_bgr.torch",
        size="seer_rg64",
        what="trained with ImageNet-1k's labels: 80.55 % top-1",
        licence="",
        imagenet=True,
        bgr=True,
    ),
    "sup_rg128_in1k": Known(
        url=_ZOO + "sup_regnet128_in1k/imnetlabels_regnety128gf_vissl_converted_bgr.torch",
        size="seer_rg128",
        what="trained with ImageNet-1k's labels: 80.57 % top-1",
        licence="",
        imagenet=True,
        bgr=True,
    ),
}
"""Name and file."""


def known(url: str) -> Known | None:
    """What is known of the file at a URL."""
    return next((entry for entry in CATALOG.values() if entry.url == url), None)


def known_file(name: str) -> Known | None:
    """What is known of a file of this name, where only one of the catalog has it."""
    found = [entry for entry in CATALOG.values() if PurePosixPath(entry.url).name == name]
    return found[0] if len(found) == 1 else None
