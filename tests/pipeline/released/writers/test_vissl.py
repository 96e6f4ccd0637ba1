"""VISSL's file: what torchvision's port of the same network makes of it, and the shape that VISSL looks for.

torchvision's blocks are ClassyVision's, which VISSL's trunk is made of, under names that differ in few places
(`vissl/models/trunks/regnet.py`, `classy_vision/models/anynet.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from pipeline.models.regnet import RegNet
from pipeline.released.writers.vissl import Vissl
from tests.pipeline.released.writers.releases import CLASSES, CUSTOM, images, release

regnet = pytest.importorskip("torchvision.models.regnet")


def torchvision_name(name: str) -> str:
    name = re.sub(r"^_feature_blocks\.conv1\.", "", name)
    name = re.sub(r"^_feature_blocks\.res\d+\.block(\d+)", r"trunk_output.block\1.block\1", name)
    name = name.replace(".f.final_bn.", ".f.c.1.").replace(".f.c.weight", ".f.c.0.weight")
    name = re.sub(r"(block\d+-\d+)\.proj\.", r"\1.proj.0.", name)
    name = re.sub(r"(block\d+-\d+)\.bn\.", r"\1.proj.1.", name)
    return name.replace(".excitation.0.", ".fc1.").replace(".excitation.2.", ".fc2.")


@pytest.mark.parametrize("classes", [CLASSES, ()])
def test_the_trunk_is_the_network_by_classyvisions_names(classes: tuple[str, ...], tmp_path: Path) -> None:
    made = release(CUSTOM, classes)
    Vissl().write(made, tmp_path)
    content = torch.load(tmp_path / "model.torch", weights_only=True)
    assert content["type"] == "consolidated"
    parts = content["classy_state_dict"]["base_model"]["model"]
    stages = CUSTOM.stages()
    params = regnet.BlockParams(stages.depths, stages.widths, stages.group_widths, [1.0] * 4, [2] * 4, 0.25)
    network = regnet.RegNet(params, num_classes=len(classes) or 1, stem_width=24).eval()
    tensors = {torchvision_name(name): tensor for name, tensor in parts["trunk"].items()}
    if classes:
        assert set(parts["heads"]) == {"0.clf.0.weight", "0.clf.0.bias"}
        tensors |= {name.replace("0.clf.0.", "fc."): tensor for name, tensor in parts["heads"].items()}
    else:
        assert parts["heads"] == {}
        network.fc = torch.nn.Identity()
    network.load_state_dict(tensors)
    with torch.no_grad():
        torch.testing.assert_close(network(images()), made.network(images()), rtol=1e-5, atol=1e-5)


def test_the_recipe_says_what_builds_the_trunk() -> None:
    cifar = RegNet.Config(
        size="custom", widths=(16, 32), depths=(1, 2), strides=(1, 2), stem="cifar", squeeze=0.0, group_width=8
    )
    text = Vissl().usage(release(cifar, CLASSES), "vissl")
    model = yaml.safe_load("\n".join(text.splitlines()[1:-1]))["MODEL"]
    assert model["WEIGHTS_INIT"]["PARAMS_FILE"] == "vissl/model.torch"
    assert model["HEAD"]["PARAMS"] == [["mlp", {"dims": [32, 3]}]]
    assert model["TRUNK"]["REGNET"] == {
        "name": "anynet",
        "stem_type": "res_stem_cifar",
        "stem_width": 32,
        "depths": [1, 2],
        "widths": [16, 32],
        "group_widths": [8, 8],
        "bottleneck_multipliers": [1.0, 1.0],
        "strides": [1, 2],
        "use_se": False,
        "se_ratio": 0.25,
    }
