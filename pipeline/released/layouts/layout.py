"""How one library names the tensors of a RegNet, as a table that is read in both directions.

The network is the same everywhere: a stem, stages of blocks, in a block three convolutions, squeeze-and-excitation and
a shortcut. A library differs in what it calls them, so a `Layout` is data: the template of a block's name and the name
of every layer in it. Our own names are pycls' below `backbone.`, and `classifier.` for what stands on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.models.regnet import RegNet

BACKBONE = "backbone."
CLASSIFIER = "classifier."
"""What our names of tensors begin with."""
STEM = ("stem.conv", "stem.bn")

_BLOCK = re.compile(r"s(?P<stage>\d+)\.b(?P<block>\d+)\.(?P<layer>.+)")
_CONVOLUTION = re.escape(BACKBONE) + r"s\d+\.b\d+\.f\.[abc]\.weight"
_FIELDS = {
    "stage": ("stage", 0),
    "before": ("stage", -1),
    "after": ("stage", 1),
    "block": ("block", 0),
    "index": ("block", -1),
}
"""What a template may say: the number it stands for, counted from 1, and what is added to it."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One library's names."""

    name: str
    stem: tuple[str, str]
    """The stem's convolution and its BatchNorm."""
    block: str
    """Template of a block's name: `{stage}` and `{block}` count from 1; `{before}` and `{after}` are the stage less and
    plus one, `{index}` is the block less one."""
    layers: Mapping[str, str]
    """Our name of each layer of a block to theirs."""
    without_squeeze: Mapping[str, str] = field(default_factory=dict)
    """Layers that are named otherwise in a network without squeeze-and-excitation."""
    classifier: str
    """The linear layer on the pooled features."""
    prefix: str = ""
    """Stands before every name but the classifier's where we write it."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Pattern of what is also met in names, and what it stands for."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Pattern of names that belong to no backbone and no classifier, and why each is not taken."""

    def to_ours(self, name: str) -> str | None:
        """Our name of the tensor they call `name`; None if it is none of the backbone or the classifier."""
        body, _, leaf = self._bare(name).rpartition(".")
        if body == self.classifier:
            return f"{CLASSIFIER}{leaf}"
        if body in self.stem:
            return f"{BACKBONE}{STEM[self.stem.index(body)]}.{leaf}"
        if not (match := self._pattern.fullmatch(body)) or match["layer"] not in self._our_layers:
            return None
        numbers: dict[str, int] = {}
        for said, (counts, shift) in self._said.items():
            number = int(match[said]) - shift
            if numbers.setdefault(counts, number) != number:
                return None
        return f"{BACKBONE}s{numbers['stage']}.b{numbers['block']}.{self._our_layers[match['layer']]}.{leaf}"

    def from_ours(self, name: str, model: RegNet.Config) -> str:
        """Their name of our tensor `name` in the network `model`. Raises ValueError if it is no name of ours."""
        body, _, leaf = name.rpartition(".")
        if f"{body}." == CLASSIFIER:
            return f"{self.classifier}.{leaf}"
        bare = body.removeprefix(BACKBONE)
        if bare in STEM and bare != body:
            return f"{self.prefix}{self.stem[STEM.index(bare)]}.{leaf}"
        layers = dict(self.layers)
        if self.without_squeeze and not model.stages().squeeze:
            layers |= self.without_squeeze
        if bare == body or not (match := _BLOCK.fullmatch(bare)) or match["layer"] not in layers:
            raise ValueError(f"{name} is no tensor of a RegNet or its classifier")
        block = self.block.format(**{said: int(match[counts]) + shift for said, (counts, shift) in _FIELDS.items()})
        return f"{self.prefix}{block}.{layers[match['layer']]}.{leaf}"

    def reason(self, name: str) -> str | None:
        """Why a known tensor that is none of ours is not taken; None for a stranger."""
        bare = self._bare(name)
        return next((why for pattern, why in self.left_out.items() if re.match(pattern, bare)), None)

    def recognises(self, names: Iterable[str]) -> bool:
        """Whether a convolution of a block is among the names; stems are named alike by several."""
        return any(re.fullmatch(_CONVOLUTION, self.to_ours(name) or "") for name in names)

    def _bare(self, name: str) -> str:
        name = re.sub(r"^(module\.|_orig_mod\.)+", "", name)  # DistributedDataParallel and torch.compile put them there
        for met, stands_for in self.spellings.items():
            name = re.sub(met, stands_for, name)
        return name

    @cached_property
    def _our_layers(self) -> dict[str, str]:
        both = [*self.layers.items(), *self.without_squeeze.items()]
        return {theirs: ours for ours, theirs in both}

    @cached_property
    def _said(self) -> dict[str, tuple[str, int]]:
        """The fields that the template uses."""
        return {said: meaning for said, meaning in _FIELDS.items() if f"{{{said}}}" in self.block}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pattern = re.escape(self.block)
        for said in self._said:
            first, *more = pattern.split(re.escape(f"{{{said}}}"))
            pattern = rf"{first}(?P<{said}>[0-9]{{1,4}})" + rf"(?P={said})".join(more)
        return re.compile(pattern + r"\.(?P<layer>.+)")
