"""What timm and transformers say of their weights is read as they mean it: their own code is the yardstick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from pipeline import config
from pipeline.config import to_mapping
from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.released.described import Description, beside, of_processor, of_timm
from pipeline.views import Evaluation

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")


def view(said: Description) -> Evaluation.Config:
    assert said.view is not None
    return config.build(Evaluation.Config, said.view)


@pytest.mark.parametrize(
    "name",
    [
        "regnety_320.seer",
        "regnety_320.seer_ft_in1k",
        "regnety_1280.swag_lc_in1k",
        "regnety_160.deit_in1k",
        "regnety_032.ra_in1k",
        "regnety_040.pycls_in1k",
        "regnetx_002.pycls_in1k",
        "regnety_016.tv2_in1k",
    ],
)
def test_timms_config_is_read_as_its_validation_reads_it(name: str) -> None:
    cfg = timm.get_pretrained_cfg(name)
    theirs = timm.data.resolve_data_config(pretrained_cfg=cfg.to_dict(), use_test_size=True)
    made = timm.data.create_transform(**theirs).transforms
    resize = next(t for t in made if isinstance(t, transforms.Resize))
    crop = next(t for t in made if isinstance(t, transforms.CenterCrop))
    said = of_timm({"architecture": cfg.architecture, "pretrained_cfg": json.loads(json.dumps(cfg.to_dict()))})
    ours = view(said)
    assert (ours.size, ours.resize, ours.interpolation) == (crop.size[0], resize.size, resize.interpolation.value)
    assert ours.keep_ratio
    assert (said.mean, said.std) == (theirs["mean"], theirs["std"])
    assert said.licence == cfg.license


# Margins are even: where a crop cannot lie in the middle, transformers and torchvision round to different sides.
PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.94, "resample": 2}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    ("ViTImageProcessor", {"size": {"height": 96, "width": 96}, "resample": 2}),
    ("BitImageProcessor", {"size": {"shortest_edge": 80}, "crop_size": {"height": 64, "width": 64}, "resample": 3}),
]


@pytest.mark.parametrize(("kind", "settings"), PROCESSORS, ids=lambda x: x if isinstance(x, str) else str(x["size"]))
def test_a_processor_of_transformers_shows_the_pixels_that_our_view_asks_for(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    plain = {"do_normalize": False, "do_rescale": False, "do_convert_rgb": None}
    processor = getattr(transformers, kind)(**settings, **plain)
    processor.save_pretrained(tmp_path)
    ours = view(of_processor(json.loads((tmp_path / "preprocessor_config.json").read_text())))
    across, down = np.meshgrid(np.linspace(0, 1, 300), np.linspace(0, 1, 200))
    waves = np.stack([np.sin(9 * across + 5 * down), np.cos(7 * down), across - down], -1)
    picture = Image.fromarray(np.uint8(127.5 + 120 * waves / 1.1))
    side = ours.resize if ours.keep_ratio else (ours.resize, ours.resize)
    shown = transforms.CenterCrop(ours.size)(transforms.Resize(side, InterpolationMode(ours.interpolation))(picture))
    theirs = processor(picture, return_tensors="np")["pixel_values"][0]
    difference = np.abs(theirs.astype(float) - np.asarray(shown, float).transpose(2, 0, 1))
    assert difference.max() <= 3
    assert difference.mean() < 0.6


def test_what_lies_beside_a_file_is_put_together(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "regnet", "id2label": {"1": "dog", "0": "cat"}}))
    processor = {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**processor, "image_mean": [0.5, 0.4, 0.3]}))
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: seer-license\ntags:\n- x\n---\n# A model\n")
    said = beside(tmp_path / "model.safetensors", {"format": "pt"})
    assert said.classes == ("cat", "dog")
    assert view(said) == Evaluation.Config(size=224, resize=256, interpolation="bicubic")
    assert said.mean == (0.5, 0.4, 0.3)
    assert said.std is None
    assert said.licence == "seer-license"
    assert said.source == "config.json, preprocessor_config.json"


def test_names_that_transformers_made_up_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}))
    assert beside(tmp_path / "m.bin", {}) == Description()


def test_a_file_of_ours_says_all_of_it_itself(tmp_path: Path) -> None:
    model = RegNet.Config(size="custom", widths=(8, 16), depths=(1, 1), group_width=8, strides=(1, 2), stem="cifar")
    shown = {"size": 32, "resize": 36, "interpolation": "bicubic", "keep_ratio": True}
    body = {"model": to_mapping(model), "classes": ["a", "b"], "preprocessing": {"mean": [0, 0, 0], **shown}}
    says = {"format": "seer-pipeline/1", "description": json.dumps(body)}
    said = beside(tmp_path / "m.safetensors", says)
    assert (said.view, said.classes) == (shown, ("a", "b"))
    assert said.model is not None
    assert config.build(RegNet.Config, said.model) == model


def test_what_is_asked_for_and_not_done_is_noted() -> None:
    said = of_timm({"architecture": "x", "pretrained_cfg": {"interpolation": "lanczos", "input_size": [3, 96, 96]}})
    assert said.notes == ("it asks for lanczos interpolation; bicubic is used",)


@pytest.mark.parametrize(
    "text", ["[1, 2]", "{", '{"pretrained_cfg": {"input_size": "large"}}', '{"id2label": {"x": 1}}']
)
def test_a_description_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"config.json: cannot be read as a description"):
        beside(tmp_path / "m.bin", {})
