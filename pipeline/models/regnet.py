"""RegNets from pycls' own blocks; the only file that imports pycls.

- a named size (`sizes.py`) becomes widths and depths by pycls' own generator; `custom` gives them directly;
- pycls builds the network, and this class takes over its children, so state-dict keys are pycls' (`stem.conv.weight`,
  `s1.b1.f.a.weight`), which is what converters map from;
- pycls reads one global config while it builds: it is set and restored around the construction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pycls.core.config import cfg as pycls_config
from pycls.models.anynet import SE, AnyNet
from pycls.models.regnet import adjust_ws_gs_comp, generate_regnet, get_stages_from_blocks
from torch import Tensor, nn

from pipeline.models.backbone import Backbone, Channels
from pipeline.models.laws import Law, normal
from pipeline.models.pooling import Average
from pipeline.models.sizes import SQUEEZE, design
from pipeline.views.views import IMAGENET_MEAN, IMAGENET_STD

CUSTOM = "custom"
_STEMS = {"imagenet": "simple_stem_in", "cifar": "res_stem_cifar"}


class Stages(NamedTuple):
    """What pycls builds a network from, one entry a stage."""

    widths: list[int]
    depths: list[int]
    group_widths: list[int]
    squeeze: float


class RegNet(Backbone):
    """A RegNet without its classifier: images (N, 3, H, W) -> (N, width)."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        name: Literal["regnet"] = "regnet"
        size: str = "regnety_400mf"
        """Size by name: regnetx_200mf to _32gf, regnety_200mf to _10b, seer_rg8 to seer_rg256, seer_10b; or custom."""
        stem: Literal["imagenet", "cifar"] = "imagenet"
        """First convolution: imagenet halves the resolution, cifar keeps it."""
        stem_width: int = 32
        """Channels of the stem."""
        strides: tuple[int, ...] = (2, 2, 2, 2)
        """Stride of the first block of each stage; 1 keeps the resolution, for small images."""
        widths: tuple[int, ...] = ()
        """Channels of each stage, for size custom; multiples of group_width, or less than it."""
        depths: tuple[int, ...] = ()
        """Blocks of each stage, for size custom."""
        group_width: int | None = None
        """Channels per group of the 3x3 convolutions, for size custom (16 where left out)."""
        squeeze: float | None = None
        """Width of squeeze-and-excitation per input width, for size custom (0.25 where left out, 0 for none)."""
        mean: Channels = IMAGENET_MEAN
        """Mean of the input's red, green and blue, of a range from 0 to 1."""
        std: Channels = IMAGENET_STD
        """Standard deviation of the input's red, green and blue, of a range from 0 to 1."""

        def __post_init__(self) -> None:
            if self.size == CUSTOM:
                if not self.widths or len(self.widths) != len(self.depths):
                    raise ValueError("size custom needs widths and depths, one number a stage each")
                group = self.group_width or 16
                if any(width < 1 or width % min(group, width) for width in self.widths):
                    raise ValueError(f"widths {list(self.widths)} must be multiples of group_width {group} or less")
            else:
                design(self.size)
                if self.widths or self.depths or self.group_width or self.squeeze is not None:
                    raise ValueError("widths, depths, group_width and squeeze belong to size custom only")
            if min(self.std) <= 0:
                raise ValueError("std must be above 0 for every colour")
            stages = len(self.stages().widths)
            if len(self.strides) != stages:
                raise ValueError(f"strides has {len(self.strides)} numbers, but the network has {stages} stages")

        def stages(self) -> Stages:
            """Widths and depths of the network."""
            if self.size == CUSTOM:
                group = self.group_width or 16
                squeeze = SQUEEZE if self.squeeze is None else self.squeeze
                groups = [min(group, width) for width in self.widths]
                return Stages(list(self.widths), list(self.depths), groups, squeeze)
            named = design(self.size)
            per_block, stages, *_ = generate_regnet(named.w_a, named.w_0, named.w_m, named.depth)
            widths, depths = get_stages_from_blocks(per_block, per_block)
            widths, groups = adjust_ws_gs_comp(widths, [1.0] * stages, [named.group_width] * stages)
            return Stages(widths, depths, groups, named.squeeze)

        def build(self) -> RegNet:
            return RegNet(self)

    def __init__(self, config: Config) -> None:
        stages = config.stages()
        super().__init__(stages.widths[-1], config.mean, config.std)
        with _pycls_settings():
            network = AnyNet(
                stem_type=_STEMS[config.stem],
                stem_w=config.stem_width,
                block_type="res_bottleneck_block",
                ds=stages.depths,
                ws=stages.widths,
                ss=list(config.strides),
                bms=[1.0] * len(stages.widths),
                gws=stages.group_widths,
                se_r=stages.squeeze or None,
                nc=1,
            )
        self._sequence = [name for name, _ in network.named_children() if name != "head"]
        for name in self._sequence:
            self.add_module(name, getattr(network, name))
        for layer in self.modules():
            if isinstance(layer, SE):
                layer.avg_pool = Average()

    def features(self, images: Tensor) -> Tensor:
        for name in self._sequence:
            images = self.get_submodule(name)(images)
        return images

    def stages(self) -> list[nn.Module]:
        return [self.get_submodule(name) for name in self._sequence[1:]]

    def laws(self) -> dict[str, Law]:
        """pycls' convolutions: He's normal law by fan-out, in which groups do not count (`pycls.core.net`)."""
        return {
            f"{name}.weight": normal(math.sqrt(2 / (math.prod(layer.kernel_size) * layer.out_channels)))
            for name, layer in self.named_modules()
            if isinstance(layer, nn.Conv2d)
        }


@contextmanager
def _pycls_settings() -> Iterator[None]:
    """pycls' global config as its zoo has it, whatever the caller's process has made of it, restored afterwards."""
    saved, frozen = pycls_config.clone(), pycls_config.is_frozen()
    pycls_config.defrost()
    pycls_config.BN.EPS, pycls_config.BN.MOM, pycls_config.BN.ZERO_INIT_FINAL_GAMMA = 1e-5, 0.1, False
    pycls_config.MEM.RELU_INPLACE = True
    try:
        yield
    finally:
        pycls_config.merge_from_other_cfg(saved)
        if frozen:
            pycls_config.freeze()
