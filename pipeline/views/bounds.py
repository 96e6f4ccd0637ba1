"""Limits that the configurations of views share. Each raises ValueError with one sentence that names the field."""

from __future__ import annotations


def check_size(name: str, pixels: int) -> None:
    if pixels < 1:
        raise ValueError(f"{name} is {pixels}; a crop has at least 1 pixel a side")


def check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; a probability lies between 0 and 1")


def check_scale(name: str, scale: tuple[float, float]) -> None:
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(
            f"{name} is {list(scale)}; give the least and the greatest share of the image, such as [0.14, 1.0]"
        )


def check_range(name: str, values: tuple[float, float]) -> None:
    if not 0 < values[0] <= values[1]:
        raise ValueError(f"{name} is {list(values)}; give the least and the greatest value, both above 0")


def check_jitter(strength: float, ranges: tuple[float, float, float, float]) -> None:
    if strength < 0 or min(ranges) < 0:
        raise ValueError(f"jitter is {strength} and jitter_ranges {list(ranges)}; neither may be negative")
    if strength * ranges[3] > 0.5:
        raise ValueError(
            f"jitter x the range of hue is {strength * ranges[3]:g}; 0.5 is half the colour circle, the most"
        )
