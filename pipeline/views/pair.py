"""Two views of an image, as joint-embedding objectives take them.

Defaults are BYOL's (Grill et al. 2020, appendix B), which Barlow Twins (Zbontar et al. 2021) shares: boxes and colours
from one law, but the first view is always blurred and never solarised, the second seldom either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.views.bounds import check_jitter, check_probability, check_range, check_scale, check_size
from pipeline.views.draw import Law
from pipeline.views.render import Photometric, RandomViews


class Pair(RandomViews):
    """Two crops of one size from each image."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How the two crops are cut and distorted."""

        name: Literal["pair"] = "pair"
        size: int = 224
        "Side of a crop, pixels."
        scale: tuple[float, float] = (0.08, 1.0)
        "Least and greatest area of a crop's box, as a share of the image."
        ratio: tuple[float, float] = (3 / 4, 4 / 3)
        "Least and greatest width / height of a crop's box."
        flip: float = 0.5
        "Probability that a crop is mirrored."
        jitter: float = 1.0
        "Strength of colour jitter: a factor on jitter_ranges."
        jitter_ranges: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1)
        "Ranges of brightness, contrast, saturation (factors 1 - x to 1 + x) and hue (-x to x of the circle)."
        jitter_probability: float = 0.8
        "Probability that a crop is jittered."
        grayscale: float = 0.2
        "Probability that a crop loses its colour."
        blur: tuple[float, float] = (1.0, 0.1)
        "Probability that the first and the second crop are blurred."
        blur_sigma: tuple[float, float] = (0.1, 2.0)
        "Least and greatest standard deviation of the blur, pixels of the crop."
        solarise: tuple[float, float] = (0.0, 0.2)
        "Probability that the bright half of the levels of the first and the second crop is inverted."
        photometric: Photometric = "cpu"
        "Where colours are changed: cpu, by the loader, or device, in batches where the network is."

        def __post_init__(self) -> None:
            check_size("size", self.size)
            check_scale("scale", self.scale)
            check_range("ratio", self.ratio)
            check_range("blur_sigma", self.blur_sigma)
            check_jitter(self.jitter, self.jitter_ranges)
            for field in ("flip", "jitter_probability", "grayscale"):
                check_probability(field, getattr(self, field))
            for field in ("blur", "solarise"):
                for value in getattr(self, field):
                    check_probability(field, value)

        def build(self) -> Pair:
            return Pair(self)

    def __init__(self, config: Config) -> None:
        super().__init__([_law(config, view) for view in range(2)], config.photometric)


def _law(config: Pair.Config, view: int) -> Law:
    return Law(
        size=config.size,
        scale=config.scale,
        ratio=config.ratio,
        flip=config.flip,
        jitter=config.jitter,
        jitter_ranges=config.jitter_ranges,
        jitter_probability=config.jitter_probability,
        grayscale=config.grayscale,
        blur=config.blur[view],
        blur_sigma=config.blur_sigma,
        solarise=config.solarise[view],
    )
