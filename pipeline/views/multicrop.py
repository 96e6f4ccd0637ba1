"""Multi-crop (Caron et al. 2020, section 3.2): a few large crops of an image and several small ones.

Defaults are those of SEER's largest model (Goyal et al. 2022): 2 crops of 160 pixels and 4 of 96, each flipped and
distorted as SwAV does it: colour jitter of strength 1 with probability 0.8, grayscale 0.2, blur 0.5, no solarisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.views.bounds import check_jitter, check_probability, check_range, check_scale, check_size
from pipeline.views.draw import Law
from pipeline.views.render import Photometric, RandomViews


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Crops of one kind."""

    count: int
    "Crops of this kind, per image."
    size: int
    "Side of a crop, pixels."
    scale: tuple[float, float]
    "Least and greatest area of a crop's box, as a share of the image."

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}; leave the crops out instead")
        check_size("size", self.size)
        check_scale("scale", self.scale)


class MultiCrop(RandomViews):
    """Crops of several sizes from each image, in the order of the recipe."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Kinds of crops, and how each crop is distorted."""

        name: Literal["multicrop"] = "multicrop"
        crops: tuple[Crops, ...] = (
            Crops(count=2, size=160, scale=(0.14, 1.0)),
            Crops(count=4, size=96, scale=(0.05, 0.14)),
        )
        "Kinds of crops. Those that an objective assigns to prototypes come first."
        ratio: tuple[float, float] = (3 / 4, 4 / 3)
        "Least and greatest width / height of a crop's box."
        flip: float = 0.5
        "Probability that a crop is mirrored."
        jitter: float = 1.0
        "Strength of colour jitter: a factor on jitter_ranges."
        jitter_ranges: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
        "Ranges of brightness, contrast, saturation (factors 1 - x to 1 + x) and hue (-x to x of the circle)."
        jitter_probability: float = 0.8
        "Probability that a crop is jittered."
        grayscale: float = 0.2
        "Probability that a crop loses its colour."
        blur: float = 0.5
        "Probability that a crop is blurred."
        blur_sigma: tuple[float, float] = (0.1, 2.0)
        "Least and greatest standard deviation of the blur, pixels of the crop."
        solarise: float = 0.0
        "Probability that the bright half of a crop's levels is inverted."
        photometric: Photometric = "cpu"
        "Where colours are changed: cpu, by the loader, or device, in batches where the network is."

        def __post_init__(self) -> None:
            if not self.crops:
                raise ValueError("crops is empty; a sample needs at least one crop")
            check_range("ratio", self.ratio)
            check_range("blur_sigma", self.blur_sigma)
            check_jitter(self.jitter, self.jitter_ranges)
            for field in ("flip", "jitter_probability", "grayscale", "blur", "solarise"):
                check_probability(field, getattr(self, field))

        def build(self) -> MultiCrop:
            return MultiCrop(self)

    def __init__(self, config: Config) -> None:
        super().__init__([_law(config, kind) for kind in config.crops for _ in range(kind.count)], config.photometric)


def _law(config: MultiCrop.Config, kind: Crops) -> Law:
    return Law(
        size=kind.size,
        scale=kind.scale,
        ratio=config.ratio,
        flip=config.flip,
        jitter=config.jitter,
        jitter_ranges=config.jitter_ranges,
        jitter_probability=config.jitter_probability,
        grayscale=config.grayscale,
        blur=config.blur,
        blur_sigma=config.blur_sigma,
        solarise=config.solarise,
    )
