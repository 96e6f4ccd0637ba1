"""One view of an image, where it comes with a label: at random for training, the same every time for evaluation.

- `Labelled`    RandomResizedCrop and flip, as ImageNet is trained on; colour jitter on demand
- `Evaluation`  shorter side resized, centre cropped: what torchvision's Resize and CenterCrop make of a Pillow image,
                to within one grey level; only the pixels of the crop are computed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from data_shards.batch import Draw
from pipeline.views.bounds import check_jitter, check_probability, check_range, check_scale, check_size
from pipeline.views.draw import Interpolation, Law, Reduction
from pipeline.views.render import Photometric, RandomViews, Renderer


class Labelled(RandomViews):
    """One random crop of each image, for training with labels."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How the crop is cut and distorted."""

        size: int = 224
        "Side of the crop, pixels."
        scale: tuple[float, float] = (0.08, 1.0)
        "Least and greatest area of the crop's box, as a share of the image."
        ratio: tuple[float, float] = (3 / 4, 4 / 3)
        "Least and greatest width / height of the crop's box."
        interpolation: Interpolation = "bilinear"
        "Filter of the resize, bilinear or bicubic: best the one of the evaluation's view."
        flip: float = 0.5
        "Probability that the crop is mirrored."
        jitter: float = 0.0
        "Strength of colour jitter: a factor on jitter_ranges. 0 for none."
        jitter_ranges: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
        "Ranges of brightness, contrast, saturation (factors 1 - x to 1 + x) and hue (-x to x of the circle)."
        jitter_probability: float = 0.8
        "Probability that the crop is jittered."
        grayscale: float = 0.0
        "Probability that the crop loses its colour."
        photometric: Photometric = "cpu"
        "Where colours are changed: cpu, by the loader, or device, in batches where the network is."

        def __post_init__(self) -> None:
            check_size("size", self.size)
            check_scale("scale", self.scale)
            check_range("ratio", self.ratio)
            check_jitter(self.jitter, self.jitter_ranges)
            for field in ("flip", "jitter_probability", "grayscale"):
                check_probability(field, getattr(self, field))

        def build(self) -> Labelled:
            return Labelled(self)

    def __init__(self, config: Config) -> None:
        law = Law(
            size=config.size,
            scale=config.scale,
            ratio=config.ratio,
            flip=config.flip,
            interpolation=config.interpolation,
            jitter=config.jitter,
            jitter_ranges=config.jitter_ranges,
            jitter_probability=config.jitter_probability,
            grayscale=config.grayscale,
        )
        super().__init__([law], config.photometric)


class Evaluation(Renderer):
    """The centre of each image. Draws no random numbers, and decodes in full."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How large the image is made, and how much of it is kept."""

        size: int = 224
        "Side of the crop, pixels."
        resize: int = 256
        "Length that the shorter side of the image is resized to, pixels."
        interpolation: Interpolation = "bilinear"
        "Filter of the resize: bilinear or bicubic, as Pillow has them."
        keep_ratio: bool = True
        "Whether width / height stays; if not, the whole image is warped to a square of resize pixels a side."

        def __post_init__(self) -> None:
            check_size("size", self.size)
            if self.resize < self.size:
                raise ValueError(
                    f"resize is {self.resize}, less than size {self.size}; the crop must fit into the image"
                )

        def build(self) -> Evaluation:
            return Evaluation(self)

    def __init__(self, config: Config) -> None:
        super().__init__([config.size], bicubic=config.interpolation == "bicubic")
        self.config = config

    def lay_out(self, draw: Draw, height: int, width: int, views: NDArray[Any]) -> Reduction:
        view, size, resize = views[0], self.config.size, self.config.resize
        grid_height = grid_width = resize
        if self.config.keep_ratio:  # torchvision cuts the fraction off here ...
            grid_height = resize if height <= width else int(resize * height / width)
            grid_width = resize if width <= height else int(resize * width / height)
        view["size"], view["height"], view["width"] = size, height, width
        view["grid_height"], view["grid_width"] = grid_height, grid_width
        view["grid_top"], view["grid_left"] = round((grid_height - size) / 2), round((grid_width - size) / 2)
        view["bicubic"] = self.config.interpolation == "bicubic"
        return 1  # ... and rounds there, a half to the even number
