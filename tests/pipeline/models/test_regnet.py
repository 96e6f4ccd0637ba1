"""RegNets against what pycls published."""

from __future__ import annotations

import re

import pytest
import torch
from pycls.core.config import cfg as pycls_config
from torch import Tensor, nn

from pipeline.models import RegNet
from pipeline.models.complexity import Complexity, count
from pipeline.models.heads import Classifier
from pipeline.models.sizes import SIZES
from tests.pipeline.networks import small_backbone

# pycls dev/model_complexity.json: parameters with the 1000-way classifier, multiply-adds and activations at 224 pixels.
PUBLISHED = {
    "regnetx_200mf": (2684792, 199040872, 2164056),
    "regnetx_400mf": (5157512, 397678568, 3143272),
    "regnetx_600mf": (6196040, 600891112, 3975096),
    "regnetx_800mf": (7259656, 799700712, 5148744),
    "regnetx_1.6gf": (9190136, 1602850792, 7933512),
    "regnetx_3.2gf": (15296552, 3176622952, 11367432),
    "regnetx_4gf": (22118248, 3964499816, 12201608),
    "regnetx_6.4gf": (26209256, 6460292264, 16369744),
    "regnetx_8gf": (39572648, 7995133416, 14059688),
    "regnetx_12gf": (46106056, 12086679016, 21366568),
    "regnetx_16gf": (54278536, 15940756456, 25515496),
    "regnetx_32gf": (107811560, 31735930792, 36302160),
    "regnety_200mf": (3162996, 199519076, 2168052),
    "regnety_400mf": (4344144, 401849056, 3892496),
    "regnety_600mf": (6055160, 601227608, 4334296),
    "regnety_800mf": (6263168, 797183328, 5249888),
    "regnety_1.6gf": (11202430, 1612087326, 8044814),
    "regnety_3.2gf": (19436338, 3176496162, 11263418),
    "regnety_4gf": (20646656, 3973301344, 12287200),
    "regnety_6.4gf": (30583252, 6355221876, 16407188),
    "regnety_8gf": (39180068, 7963074196, 17968916),
    "regnety_12gf": (51822544, 12092395504, 21384496),
    "regnety_16gf": (83590140, 15911534044, 23041228),
    "regnety_32gf": (145046770, 32279583362, 30261570),
}

# SEER's own: widths and depths, parameters without and with the classifier (millions), multiply-adds (billions) and
# activations (millions) at 224 pixels, multiply-adds at 160 pixels.
SEER = {
    "regnety_64gf": ([328, 984, 1968, 4920], [2, 5, 12, 1], 276.46, 281.38, 64.07, 42.50, 32.7),
    "regnety_128gf": ([528, 1056, 2904, 7392], [2, 7, 17, 1], 637.42, 644.81, 127.5, 71.6, 65.1),
    "regnety_256gf": ([746, 1492, 4103, 10444], [2, 7, 17, 1], 1272.16, 1282.60, 254.4, 101.0, 129.9),
    "regnety_10b": ([2020, 4040, 11110, 28280], [2, 7, 17, 1], 9323.9, 9352.2, 1863, 272.7, 951.3),
}


def with_classifier(size: str) -> nn.Module:
    with torch.device("meta"):
        backbone = RegNet.Config(size=size).build()
        return nn.Sequential(backbone, Classifier(backbone.width, 1000))


@pytest.mark.parametrize("size", PUBLISHED)
def test_a_size_of_the_zoo_has_the_published_parameters_macs_and_activations(size: str) -> None:
    assert count(with_classifier(size)) == Complexity(*PUBLISHED[size])


@pytest.mark.parametrize("size", SEER)
def test_a_size_of_seer_has_the_known_shape_parameters_and_macs(size: str) -> None:
    widths, depths, trunk, whole, macs, activations, macs_at_160 = SEER[size]
    stages = RegNet.Config(size=size).stages()
    assert (stages.widths, stages.depths) == (widths, depths)
    network = with_classifier(size)
    found = count(network)
    backbone = next(network.children())
    at_160 = count(backbone, 160)
    for number, unit, expected in (
        (at_160.parameters, 1e6, trunk),
        (found.parameters, 1e6, whole),
        (found.macs, 1e9, macs),
        (found.activations, 1e6, activations),
        (at_160.macs, 1e9, macs_at_160),
    ):
        digits = len(re.sub(r"\d*\.?", "", f"{expected}", count=1)) if "." in f"{expected}" else 0
        assert round(number / unit, digits) == pytest.approx(expected, abs=0.51 * 10**-digits)


def test_names_of_seer_are_sizes_of_regnety() -> None:
    names = {"seer_rg8": "8gf", "seer_rg16": "16gf", "seer_rg32": "32gf", "seer_rg64": "64gf"}
    names |= {"seer_rg128": "128gf", "seer_rg256": "256gf", "seer_10b": "10b"}
    for name, size in names.items():
        assert RegNet.Config(size=name).stages() == RegNet.Config(size=f"regnety_{size}").stages()
    assert len(SIZES) == len(PUBLISHED) + len(SEER) + len(names)


def test_a_custom_size_has_the_widths_and_depths_given() -> None:
    backbone = small_backbone()
    assert backbone.width == 16
    assert [name for name, _ in backbone.named_children()] == ["stem", "s1", "s2"]
    assert [type(block).__name__ for block in backbone.blocks()] == ["ResBottleneckBlock"] * 3
    assert backbone.features(torch.zeros(2, 3, 32, 32)).shape == (2, 16, 4, 4)
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 16)


def test_the_cifar_stem_and_strides_of_one_keep_the_resolution() -> None:
    backbone = small_backbone(stem="cifar", strides=(1, 2))
    assert backbone.features(torch.zeros(1, 3, 32, 32)).shape == (1, 16, 16, 16)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "regnety_400m"}, "did you mean regnety_400mf"),
        ({"size": "regnety_032"}, r"did you mean regnety_3.2gf\?"),
        ({"size": "regnetx_006"}, r"did you mean regnetx_600mf\?"),
        ({"size": "regnety_1280"}, r"did you mean regnety_128gf\?"),
        ({"size": "regnet_y_1_6gf"}, r"did you mean regnety_1.6gf\?"),
        ({"size": "regnet_x_400mf"}, r"did you mean regnetx_400mf\?"),
        ({"size": "resnet50"}, "known: custom, regnetx_200mf"),
        ({"size": "custom"}, "needs widths and depths"),
        ({"size": "custom", "widths": (8, 20), "depths": (1, 1), "group_width": 8, "strides": (2, 2)}, "multiples"),
        ({"size": "custom", "widths": (0, 16), "depths": (1, 1), "strides": (2, 2)}, "multiples"),
        ({"size": "regnety_400mf", "widths": (8,)}, "belong to size custom only"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be above 0"),
        ({"size": "regnety_400mf", "strides": (2, 2)}, "strides has 2 numbers, but the network has 4 stages"),
    ],
)
def test_a_config_that_cannot_be_built_says_what_would_be_right(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegNet.Config(**settings)  # type: ignore[arg-type]


def test_building_leaves_the_global_config_of_pycls_as_it_was() -> None:
    epsilon = pycls_config.BN.EPS
    pycls_config.BN.EPS = 0.5
    pycls_config.freeze()
    try:
        backbone = small_backbone()
        assert backbone.get_submodule("stem.bn").eps == 1e-5
        assert pycls_config.BN.EPS == 0.5
        assert pycls_config.is_frozen()
    finally:
        pycls_config.defrost()
        pycls_config.BN.EPS = epsilon


def test_prepared_images_are_normalised_channels_last_and_in_the_precision_of_autocast() -> None:
    backbone = small_backbone(mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 1.0))
    crops = torch.full((2, 3, 8, 8, 3), 255, dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    images = backbone.prepare(crops)
    assert images.shape == (6, 3, 8, 8)
    assert images.is_contiguous(memory_format=torch.channels_last)
    expected = torch.tensor([1.0, 1.5, 1.0])
    torch.testing.assert_close(images, expected.view(1, 3, 1, 1).expand(6, 3, 8, 8), rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert backbone.prepare(crops).dtype == torch.bfloat16
        features: Tensor = backbone.features(backbone.prepare(crops))
    assert features.is_contiguous(memory_format=torch.channels_last)
