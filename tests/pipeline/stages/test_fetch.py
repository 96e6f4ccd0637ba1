"""Anyone's weights become a checkpoint that other stages read; what is wrong with them is one sentence."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.__main__ import main
from pipeline.artifacts import Artifact
from pipeline.checkpoints.store import read_tensors
from pipeline.checkpoints.verify import verify
from pipeline.config import to_mapping
from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.released import backbones
from pipeline.released.architecture import ELSEWHERE
from pipeline.released.catalog import CATALOG, Known
from pipeline.released.sources import Source
from pipeline.stages import chain as chains
from pipeline.stages import fetch
from pipeline.views import Evaluation
from tests.commands import Done
from tests.data_shards.servers import files
from tests.pipeline.released.readers import vissl_files
from tests.pipeline.released.test_imported import MODEL, network, pycls_file

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def fetched(weights: str | Path, out: Path, *more: str) -> Artifact:
    assert main(["fetch", f"weights={weights}", f"out={out}", *more]) == 0
    artifact = Artifact.load(out, "checkpoint")
    assert verify(out / str(artifact.facts["checkpoint"]), deep=True) == []
    assert artifact.damaged() == []
    return artifact


def scores(artifact: Artifact) -> Tensor:
    """What the checkpoint gives for IMAGES: class scores, or features without a classifier."""
    features = backbones.load(artifact).eval()(IMAGES)
    if not artifact.facts["classes"]:
        return features
    top = read_tensors(artifact.path / str(artifact.facts["checkpoint"]), "classifier.")
    return torch.nn.functional.linear(features, top["weight"], top["bias"])


def agree(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max())))


@torch.no_grad()
def test_a_file_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("regnety_002", num_classes=5).eval()
    torch.save({"state_dict": theirs.state_dict(), "arch": "regnety_002", "epoch": 3}, tmp_path / "m.pth.tar")
    artifact = fetched(tmp_path / "m.pth.tar", tmp_path / "run")
    assert artifact.facts["model"]["size"] == "regnety_200mf"
    assert artifact.figures["parameters"] == sum(p.numel() for p in theirs.parameters())
    assert artifact.facts["source"]["layout"] == "timm"
    assert agree(scores(artifact), theirs(IMAGES))


@torch.no_grad()
@pytest.mark.parametrize("at_most", ["1GB", "20KB"])
def test_a_folder_of_transformers_in_one_file_or_several(at_most: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    settings = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 2], "groups_width": 8}
    names = {0: "cat", 1: "dog", 2: "emu"}
    config = transformers.RegNetConfig(**settings, layer_type="y", id2label=names)
    theirs = transformers.RegNetForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path / "folder", max_shard_size=at_most)
    transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.5).save_pretrained(tmp_path / "folder")
    artifact = fetched(tmp_path / "folder", tmp_path / "run")
    assert artifact.facts["classes"] == ["cat", "dog", "emu"]
    assert backbones.view(artifact) == Evaluation.Config(size=64, resize=128, interpolation="bicubic")
    described = {"config.json", "preprocessor_config.json"}
    files = {"model.safetensors"} if at_most == "1GB" else {path.name for path in (tmp_path / "folder").glob("model*")}
    assert artifact.facts["source"]["files"].keys() == files | described
    assert (len(files) > 2) == (at_most == "20KB")
    assert agree(scores(artifact), theirs(IMAGES).logits)


@torch.no_grad()
def test_a_file_of_torchvision_whose_name_has_its_hash(tmp_path: Path) -> None:
    from hashlib import sha256

    from torchvision.models import regnet_y_400mf

    theirs = regnet_y_400mf(num_classes=4).eval()
    torch.save(theirs.state_dict(), tmp_path / "m.pth")
    digits = sha256((tmp_path / "m.pth").read_bytes()).hexdigest()[:8]
    named = (tmp_path / "m.pth").rename(tmp_path / f"regnet_y_400mf-{digits}.pth")
    assert agree(scores(fetched(named, tmp_path / "run")), theirs(IMAGES))
    wrong = named.rename(tmp_path / "regnet_y_400mf-0000000a.pth")
    assert main(["fetch", f"weights={wrong}", f"out={tmp_path / 'other'}"]) == 2


def test_a_url_once_and_then_from_the_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "served").mkdir()
    pycls_file(tmp_path / "served" / "m.pyth", network())
    with files(tmp_path / "served") as server:
        url = f"{server.url}/m.pyth"
        artifact = fetched(url, tmp_path / "run", f"cache={tmp_path / 'cache'}")
    assert artifact.facts["source"]["from"] == url
    assert "Next: give it to another stage, checkpoint=" in capsys.readouterr().out
    again = fetched(url, tmp_path / "again", f"cache={tmp_path / 'cache'}")
    assert again.content == artifact.content
    fetched(url, tmp_path / "again", f"cache={tmp_path / 'cache'}")
    assert "is up to date" in capsys.readouterr().out


def test_a_file_that_has_changed_since_is_told_from_one_that_was_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pycls_file(tmp_path / "m.pyth", network())
    fetched(path, tmp_path / "run")
    path.touch()
    fetched(path, tmp_path / "run")
    pycls_file(path, network(7))
    assert main(["fetch", f"weights={path}", f"out={tmp_path / 'run'}"]) == 2
    assert "holds what was fetched from another m.pyth" in capsys.readouterr().err


def listed(path: Path, *names: str) -> Path:
    path.write_text("\n".join(names) + "\n")
    return path


def as_settings(model: RegNet.Config) -> tuple[str, ...]:
    return tuple(f"model.{key}={value}" for key, value in to_mapping(model).items() if key != "mean")


def test_its_content_is_another_where_pictures_are_shown_or_classes_called_otherwise(tmp_path: Path) -> None:
    path, names = pycls_file(tmp_path / "m.pyth", network()), listed(tmp_path / "names.txt", "cat", "dog", "emu")
    more: dict[str, tuple[str, ...]] = {
        "plain": (),
        "same": (),
        "view": ("view.size=32", "view.resize=32"),
        "classes": (f"classes={names}",),
        "mean": (*as_settings(MODEL), "model.mean=[0.1,0.2,0.3]"),
    }
    found = {name: fetched(path, tmp_path / name, *words).content for name, words in more.items()}
    assert found.pop("same") == found["plain"]
    assert len(set(found.values())) == 4


def fetched_again(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said when the same is asked for again: of a mistake its sentence, else nothing."""
    capsys.readouterr()
    status, told = main(["fetch", *words]), capsys.readouterr()
    assert (status, "is up to date" in told.out) in ((2, False), (0, True))
    return told.err


def test_a_list_of_classes_that_has_changed_is_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, names = pycls_file(tmp_path / "m.pyth", network()), listed(tmp_path / "names.txt", "cat", "dog", "emu")
    words = (f"weights={path}", f"out={tmp_path / 'run'}", f"classes={names}")
    fetched(path, tmp_path / "run", words[-1])
    names.touch()
    assert fetched_again(capsys, *words) == ""
    listed(names, "emu", "cat", "dog")
    assert "holds what was fetched from another names.txt" in fetched_again(capsys, *words)
    names.unlink()
    assert fetched_again(capsys, *words) == "", "what is gone is no other"


def test_a_part_or_a_description_that_has_changed_or_come_is_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors, half = network().state_dict(), 20
    folder = tmp_path / "folder"
    folder.mkdir()
    names = list(tensors)
    split = {"a.safetensors": names[:half], "b.safetensors": names[half:]}
    for part, held in split.items():
        save_file({name: tensors[name] for name in held}, folder / part)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: part for part, held in split.items() for name in held}}))
    for weights, out in ((folder, tmp_path / "one"), (index, tmp_path / "two")):
        words = (f"weights={weights}", f"out={out}")
        fetched(weights, out)
        (folder / "b.safetensors").touch()
        assert fetched_again(capsys, *words) == ""
        save_file({name: tensors[name] + 1 for name in names[half:]}, folder / "b.safetensors")
        assert "holds what was fetched from another b.safetensors" in fetched_again(capsys, *words)
        save_file({name: tensors[name] for name in names[half:]}, folder / "b.safetensors")
        (folder / "config.json").write_text("{}")
        assert "holds what was fetched when there was no config.json" in fetched_again(capsys, *words)
        (folder / "config.json").unlink()
    save_file(dict(tensors), folder / "model.safetensors")
    assert "when there was no model.safetensors" in fetched_again(
        capsys, f"weights={folder}", f"out={tmp_path / 'one'}"
    )


@pytest.mark.parametrize("held", ["regnety_800mf", "custom"])
def test_a_file_of_the_catalog_with_another_network_is_refused_and_both_are_named(
    held: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CATALOG, "x", Known(url="https://x.org/m-known.pth", size="regnety_200mf", what="a test"))
    model = MODEL if held == "custom" else RegNet.Config(size=held)
    torch.save(network(3, model).state_dict(), tmp_path / "m-known.pth")
    words = ["fetch", f"weights={tmp_path / 'm-known.pth'}", f"out={tmp_path / 'run'}"]
    assert main(words) == 2
    errors = capsys.readouterr().err
    assert f"m-known.pth: holds {held}" in errors
    assert "and the catalog has it as regnety_200mf" in errors
    assert not (tmp_path / "run").exists()
    said = shlex.split(errors.partition("Next: python -m pipeline ")[2])
    assert main([*said, words[-1]]) == 0, "and what is said to do does it"
    assert ("known as", "a test") in map(
        tuple, json.loads((tmp_path / "run" / "results.json").read_text())["tables"][0]["rows"]
    )


def test_the_two_networks_called_rg_256_are_told_apart() -> None:
    source = Source(file=Path("m.torch"), origin="", known=CATALOG["seer_rg256"])
    fetch.hold_to_catalog("seer_rg256", source, RegNet.Config(size="seer_rg256"))
    with pytest.raises(ArtifactError, match=r"holds custom \(ClassyVision's regnet_y_256gf: .*has it as seer_rg256"):
        fetch.hold_to_catalog("seer_rg256", source, ELSEWHERE["ClassyVision's regnet_y_256gf"])


def test_what_was_found_is_written_for_the_report(tmp_path: Path) -> None:
    fetched(pycls_file(tmp_path / "m.pyth", network()), tmp_path / "run")
    table = json.loads((tmp_path / "run" / "results.json").read_text())["tables"][0]
    rows = dict(table["rows"])
    assert rows["input"].startswith("blue, green, red")
    assert "a classifier of 3 classes" in rows["tensors"]


def state() -> dict[str, Tensor]:
    return dict(network().state_dict())


def mistakes(folder: Path) -> Mapping[str, tuple[Any, str]]:
    heads = {name: tensor for name, tensor in state().items() if name.startswith("classifier")}
    stranger = {**state(), "backbone.s9.extra": torch.ones(2), "decoder.weight": torch.ones(3)}
    resnet = {"conv1.weight": torch.ones(64, 3, 7, 7), "layer1.0.conv1.weight": torch.ones(64, 64, 1, 1)}
    gap = {name: tensor for name, tensor in state().items() if ".s2.b2.f.b.weight" not in name}
    reshaped = {**state(), "backbone.s2.b1.f.c.weight": torch.ones(32, 31, 1, 1)}
    return {
        "a head alone": (heads, "holds a head and no backbone"),
        "strangers": (stranger, "strangers: "),
        "a ResNet": (resnet, "seems to hold a ResNet"),
        "a gap": (gap, "s2.b2.f.b.weight"),
        "another shape": (reshaped, "of another shape: "),
    }


@pytest.mark.parametrize("mistake", ["a head alone", "strangers", "a ResNet", "a gap", "another shape"])
def test_a_wrong_file_is_one_sentence_and_leaves_no_run(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, says = mistakes(tmp_path)[mistake]
    torch.save(content, tmp_path / "m.pth")
    assert main(["fetch", f"weights={tmp_path / 'm.pth'}", f"out={tmp_path / 'run'}"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {tmp_path / 'm.pth'}: ")
    assert says in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ((), "weights: must be given"),
        (("weights=seer_rg23",), "near it is seer_rg32"),
        (("weights=x.torch", "sha256=xyz"), "sha256 is 'xyz'; give hexadecimal digits"),
        (("weights=x.torch", "colour=cmyk"), "colour"),
        (("weights=x.torch", "view.size=300"), "the crop must fit into the image"),
        (("weights=x.torch",), "there is no such file"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    settings: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", f"out={tmp_path / 'run'}", *settings]) == 2
    errors = capsys.readouterr().err
    assert says in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given", ["some.torch", "folder", "https://example.org/m.torch", "timm/regnety_320.seer", *CATALOG]
)
def test_weights_given_to_another_stage_lead_to_fetch(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({}, tmp_path / "some.torch")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").touch()
    with pytest.raises(Exception, match=rf"finetune needs a checkpoint.*Next: .* fetch weights={given} out=runs/fetch"):
        Artifact.load(given, "checkpoint", wanted_by="finetune", key="checkpoint")


def test_a_chain_hands_on_what_it_fetched(tmp_path: Path) -> None:
    stages = "[{shard: {source: pictures}}, {fetch: {weights: seer_rg32}}, {finetune: {}}, {export: {}}]"
    (tmp_path / "chain.yaml").write_text(f"stages: {stages}\n")
    _, links = chains.load(str(tmp_path / "chain.yaml"), ["out=runs/x", "fetch.cache=/scratch"])
    configs = {link.run: link.config for link in links}
    assert configs["fetch"].weights == "seer_rg32"
    assert configs["fetch"].cache == "/scratch"
    assert configs["finetune"].checkpoint == "runs/x/fetch"
    assert configs["export"].checkpoint == "runs/x/finetune"


@pytest.mark.slow
def test_what_was_fetched_is_fine_tuned(chain: tuple[Path, Done], recipes: Path, tmp_path: Path) -> None:
    source = vissl_files.consolidated(tmp_path / "m.torch", *_of_vissl())
    artifact = fetched(source, tmp_path / "fetched", "view.size=32", "view.resize=32")
    words = (f"shards={chain[0] / 'shard'}", f"checkpoint={artifact.path}", f"out={tmp_path / 'tuned'}")
    assert main(["finetune", str(recipes / "finetune.yaml"), *words, "trainer.duration=1 steps", "view=null"]) == 0
    tuned = Artifact.load(tmp_path / "tuned", "checkpoint")
    assert tuned.inputs["checkpoint"]["content"] == artifact.content
    assert tuned.facts["model"] == artifact.facts["model"]
    assert tuned.facts["view"]["size"] == 32


def _of_vissl() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trunk and heads as VISSL names them."""
    from pipeline.released.layouts import LAYOUTS

    theirs = {LAYOUTS["vissl"].from_ours(name, MODEL): tensor for name, tensor in state().items()}
    parts = (
        {n.removeprefix(f"{p}."): t for n, t in theirs.items() if n.startswith(f"{p}.")} for p in ("trunk", "heads")
    )
    trunk, heads = parts
    return trunk, heads
