"""A released network computes what it did, whatever its file's layout, types and colours were; what is said beside it
is taken in the right order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.config import to_mapping
from pipeline.errors import ArtifactError
from pipeline.models.heads import Classifier
from pipeline.models.regnet import RegNet
from pipeline.released import readers, safetensors
from pipeline.released.catalog import Known
from pipeline.released.imagenet import CLASSES
from pipeline.released.imported import Imported, imported
from pipeline.released.layouts import LAYOUTS
from pipeline.released.sources import Source
from pipeline.views import Evaluation
from tests.pipeline.released.readers import vissl_files

MODEL = RegNet.Config(
    size="custom", widths=(16, 32), depths=(1, 2), group_width=8, squeeze=0.25, strides=(2, 2), stem_width=16
)


def network(classes: int | None = 3, model: RegNet.Config = MODEL) -> safetensors.Network:
    torch.manual_seed(0)
    backbone = model.build()
    for name, buffer in backbone.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.uniform_(0.5, 1.5)
    return safetensors.Network(backbone, Classifier(backbone.width, classes) if classes else None).eval()


def pycls_file(path: Path, net: safetensors.Network) -> Path:
    """As pycls saves one (`pycls/core/checkpoint.py`)."""
    layout = LAYOUTS["pycls"]
    state = {layout.from_ours(name, MODEL): tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 100, "test_err": 20.0, "model_state": state, "optimizer_state": {}, "cfg": "…"}, path)
    return path


def look(path: Path, entry: Known | None = None, **given: Any) -> Imported:
    return imported(Source(file=path, origin=path.name, known=entry), readers.read(path), **given)


def loaded(found: Imported) -> safetensors.Network:
    net = network(len(found.classes) or None, found.model)
    net.load_state_dict({name: stored.read().to(stored.dtype) for name, stored in found.tensors.items()})
    return net


def outputs(net: safetensors.Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        scores: Tensor = net(images)
    return scores


def test_a_network_of_blue_green_red_becomes_one_of_red_green_blue(tmp_path: Path) -> None:
    net, images = network(), torch.randn(2, 3, 32, 32)
    path = pycls_file(tmp_path / "m.pyth", net)
    found = look(path)
    assert torch.equal(outputs(loaded(found), images), outputs(net, images.flip(1)))
    assert dict(found.told)["input"].startswith("blue, green, red (as pycls' own files have it)")
    assert torch.equal(outputs(loaded(look(path, colour="rgb")), images), outputs(net, images))


@pytest.mark.parametrize("given", [{"colour": "bgr"}, {"entry": Known(url="", size="", what="", bgr=True)}])
def test_colours_are_turned_where_the_recipe_or_the_catalog_says_so(given: dict[str, Any], tmp_path: Path) -> None:
    net, images = network(), torch.randn(2, 3, 32, 32)
    torch.save(net.state_dict(), tmp_path / "m.pth")
    assert torch.equal(outputs(loaded(look(tmp_path / "m.pth", **given)), images), outputs(net, images.flip(1)))
    assert torch.equal(outputs(loaded(look(tmp_path / "m.pth")), images), outputs(net, images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_become_fp32_and_missing_counters_begin_at_zero(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {n: t.to(dtype) for n, t in network().state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "m.pth")
    found = look(tmp_path / "m.pth")
    assert all(stored.dtype in (torch.float32, torch.int64) for stored in found.tensors.values())
    assert found.tensors.keys() == network().state_dict().keys()
    loaded(found)


@pytest.mark.parametrize("form", ["consolidated", "sliced"])
def test_a_file_of_vissl_gives_the_network_and_its_classifier(form: str, tmp_path: Path) -> None:
    net, images, layout = network(), torch.randn(2, 3, 32, 32), LAYOUTS["vissl"]
    theirs = {layout.from_ours(name, MODEL): tensor.clone() for name, tensor in net.state_dict().items()}
    trunk = {n.removeprefix("trunk."): t for n, t in theirs.items() if n.startswith("trunk.")}
    heads = {n.removeprefix("heads."): t for n, t in theirs.items() if n.startswith("heads.")}
    assert len(trunk) + len(heads) == len(theirs)
    found = look(getattr(vissl_files, form)(tmp_path / "m.torch", trunk, heads))
    assert found.layout == "vissl"
    assert torch.equal(outputs(loaded(found), images), outputs(net, images))


def test_the_heads_of_pretraining_are_left_out_with_a_reason(tmp_path: Path) -> None:
    net, layout = network(None), LAYOUTS["vissl"]
    trunk = {layout.from_ours(n, MODEL).removeprefix("trunk."): t.clone() for n, t in net.state_dict().items()}
    heads = {"0.projection_head.0.weight": torch.ones(4, 32), "0.prototypes0.weight": torch.ones(9, 4)}
    found = look(vissl_files.consolidated(tmp_path / "m.torch", trunk, heads))
    assert found.classes == ()
    assert all(name.startswith("backbone.") for name in found.tensors)
    assert "0.prototypes0.weight left out" in dict(found.told)["tensors"]


def test_a_file_of_ours_keeps_what_shapes_do_not_tell(tmp_path: Path) -> None:
    model = RegNet.Config(
        size="custom", widths=(8, 16), depths=(1, 1), strides=(1, 2), stem="cifar", group_width=8, mean=(0.5, 0.4, 0.3)
    )
    net = network(2, model)
    description = {"model": to_mapping(model), "classes": ["cat", "dog"]}
    safetensors.save(net, tmp_path / "m.safetensors", description)
    found = look(tmp_path / "m.safetensors")
    assert (found.model, found.classes) == (model, ("cat", "dog"))


def test_how_pictures_are_shown_is_taken_from_the_nearest_word(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "m.pth")
    path, entry = tmp_path / "m.pth", Known(url="", size="", what="", view={"size": 384, "resize": 384})
    usual = look(path)
    assert usual.view == Evaluation.Config()
    assert "the usual one, as nothing is said" in dict(usual.told)["view"]
    assert look(path, entry).view.size == 384
    cfg = {"input_size": [3, 96, 96], "crop_pct": 0.75, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.1] * 3}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "x", "pretrained_cfg": cfg}))
    said = look(path, entry)
    assert said.view == Evaluation.Config(size=96, resize=128, interpolation="bicubic")
    assert (said.model.mean, said.model.std) == ((0.5, 0.5, 0.5), (0.1, 0.1, 0.1))
    assert look(path, entry, view=Evaluation.Config(size=48, resize=64)).view.size == 48


def test_a_view_that_cannot_be_says_where_it_stands(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "m.pth")
    cfg = {"input_size": [3, 0, 0]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "x", "pretrained_cfg": cfg}))
    with pytest.raises(ArtifactError, match=r"config.json: describes no view .*set view.size and view.resize"):
        look(tmp_path / "m.pth")


def test_class_names_are_the_recipes_the_files_or_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(network().state_dict(), path)
    (tmp_path / "names.txt").write_text("red\n\n green\nblue\n")
    assert look(path).classes == ("0", "1", "2")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "a", "1": "b", "2": "c"}}))
    assert look(path).classes == ("a", "b", "c")
    assert look(path, classes=str(tmp_path / "names.txt")).classes == ("red", "green", "blue")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "a", "1": "b"}}))
    assert look(path).classes == ("0", "1", "2"), "names that do not fit are none"


def test_imagenets_classes_by_word_and_by_catalog(tmp_path: Path) -> None:
    torch.save(network(1000).state_dict(), tmp_path / "m.pth")
    entry = Known(url="", size="", what="", imagenet=True)
    assert look(tmp_path / "m.pth", entry).classes == look(tmp_path / "m.pth", classes="imagenet").classes == CLASSES
    assert look(tmp_path / "m.pth").classes[-1] == "999"
    assert "set classes=imagenet if they are ImageNet-1k's" in dict(look(tmp_path / "m.pth").told)["classes"]


def test_imagenets_classes_are_those_of_timm() -> None:
    info = pytest.importorskip("timm.data").ImageNetInfo("imagenet-1k")
    assert list(CLASSES) == info.label_names()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\nb\n", "has 2 names, and the classifier in m.pth 3 classes"),
        ("a\nb\na\n", "names a twice"),
        (None, "cannot be read"),
    ],
)
def test_a_list_of_classes_that_does_not_fit(text: str | None, says: str, tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "m.pth")
    if text is not None:
        (tmp_path / "names.txt").write_text(text)
    with pytest.raises(ArtifactError, match=says):
        look(tmp_path / "m.pth", classes=str(tmp_path / "names.txt"))


def test_classes_for_a_network_without_a_classifier(tmp_path: Path) -> None:
    torch.save(network(None).state_dict(), tmp_path / "m.pth")
    with pytest.raises(ArtifactError, match="has no classifier, but classes=imagenet names some"):
        look(tmp_path / "m.pth", classes="imagenet")


def test_another_network_than_was_asked_for_lists_what_differs(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "m.pth")
    with pytest.raises(ArtifactError, match=r"does not hold regnety_200mf as ours names it \(missing: "):
        look(tmp_path / "m.pth", model=RegNet.Config(size="regnety_200mf"))
