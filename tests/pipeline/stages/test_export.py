"""export: the folder that it leaves, and what it refuses before it writes anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.artifacts import Artifact
from pipeline.errors import ArtifactError
from pipeline.released import safetensors
from pipeline.released.writers import WRITERS
from pipeline.released.writers.writer import Release
from pipeline.stages import export
from pipeline.stages.stage import execute
from pipeline.views import Evaluation
from tests.commands import Done

VIEW = Evaluation.Config(size=32, resize=32)


def exported(chain: tuple[Path, Done], out: Path, of: str = "finetune", **settings: Any) -> Artifact:
    runs = chain[0]
    settings = {"view": VIEW, "layouts": ("torchvision", "vissl"), **settings}
    config = export.Config(out=str(out), shards=str(runs / "shard"), checkpoint=str(runs / of), **settings)
    return execute("export", config)


def test_the_folder_is_tidy_and_every_file_is_accounted_for(chain: tuple[Path, Done], tmp_path: Path) -> None:
    made = exported(chain, tmp_path / "out")
    shown = {str(p.relative_to(made.path)) for p in made.path.rglob("*") if p.is_file() and p.name[0] != "."}
    files = {"model.safetensors", "README.md", "torchvision/model.safetensors", "vissl/model.torch", "results.json"}
    assert shown == files | {"artifact.json", "config.yaml", "report.html"}
    assert set(made.files) == files
    assert made.facts["layouts"] == ["torchvision", "vissl"]
    assert made.figures["largest_difference"] <= 1e-5
    rows = json.loads((made.path / "results.json").read_text())["tables"][0]["rows"]
    assert [row[:2] for row in rows] == [
        ["this pipeline", "model.safetensors"],
        ["torchvision", "torchvision/"],
        ["VISSL", "vissl/"],
    ]


def test_a_pretrained_backbone_goes_out_without_a_classifier(chain: tuple[Path, Done], tmp_path: Path) -> None:
    made = exported(chain, tmp_path / "out", "pretrain")
    network = safetensors.load(made.path / "model.safetensors")
    assert network.classifier is None
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 32)
    assert not any(name.startswith("fc.") for name in load_file(made.path / "torchvision" / "model.safetensors"))
    assert "model.fc = torch.nn.Identity()" in (made.path / "README.md").read_text()


def test_the_card_leads_back_to_the_shards(chain: tuple[Path, Done], tmp_path: Path) -> None:
    made = exported(chain, tmp_path / "out", licence="mit", title="Three tiles")
    text = (made.path / "README.md").read_text()
    manifest = json.loads((chain[0] / "shard" / "manifest.json").read_text())
    assert all(shard["hash"] in text for shard in manifest["shards"])
    assert all(Artifact.load(chain[0] / stage).content in text for stage in ("shard", "pretrain", "finetune"))
    assert "license: mit" in text
    assert "# Three tiles" in text
    assert str(chain[0]) not in text
    description = safetensors.describe(made.path / "model.safetensors")
    assert [step["stage"] for step in description["lineage"]] == ["finetune", "pretrain", "shard"]
    assert description["licence"] == "mit"
    assert str(chain[0]) not in json.dumps(description)


def test_evaluations_of_the_network_or_of_one_behind_it_are_in_the_card(
    chain: tuple[Path, Done], tmp_path: Path
) -> None:
    probe = Artifact.load(chain[0] / "probe")
    made = exported(chain, tmp_path / "out", measured=(str(probe.path),), layouts=("torchvision",))
    text = (made.path / "README.md").read_text()
    content = Artifact.load(chain[0] / "pretrain").content
    assert f"| knn pretrained | {probe.figures['knn_pretrained']:g} | `probe` of `{content[:12]}` |" in text


def test_an_evaluation_of_features_is_one_of_the_network_that_gave_them(
    chain: tuple[Path, Done], tmp_path: Path
) -> None:
    tuned = Artifact.load(chain[0] / "finetune")
    read = {"path": str(tuned.path), "kind": "checkpoint", "content": tuned.content}
    for name, kind, inputs in (
        ("features", "features", {"checkpoint": read}),
        (
            "knn",
            "scores",
            {"features": {"path": str(tmp_path / "features"), "kind": "features", "content": "features"}},
        ),
    ):
        (tmp_path / name).mkdir()
        made = Artifact(stage=name, kind=kind, fingerprint="f", content=name, inputs=inputs, path=tmp_path / name)
        replace(made, figures={"top1": 0.25}).save()
    made = exported(chain, tmp_path / "out", measured=(str(tmp_path / "knn"),), layouts=())
    assert f"| top1 | 0.25 | `knn` of `{tuned.content[:12]}` |" in (made.path / "README.md").read_text()
    assert not (made.path / "torchvision").exists()


def test_an_evaluation_of_another_network_is_refused(chain: tuple[Path, Done], tmp_path: Path) -> None:
    body = json.loads((chain[0] / "probe" / "artifact.json").read_text())
    body["inputs"]["checkpoint"]["content"] = "another"
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "artifact.json").write_text(json.dumps(body))
    with pytest.raises(ArtifactError, match="measured another checkpoint"):
        exported(chain, tmp_path / "out", measured=(str(tmp_path / "probe"),))


def test_a_library_without_such_a_network_is_refused_before_anything_is_written(
    chain: tuple[Path, Done], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="cannot be written for timm: its networks are built by name"):
        exported(chain, tmp_path / "out", layouts=("torchvision", "timm"))
    assert not (tmp_path / "out").exists()


def test_a_file_that_differs_is_an_error_and_not_a_result(
    chain: tuple[Path, Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = WRITERS["torchvision"].write

    def careless(release: Release, folder: Path) -> None:
        tensor = next(iter(release.network.parameters()))
        saved = tensor.detach().clone()
        with torch.no_grad():
            tensor.view(-1)[0] += 1
            write(release, folder)
            tensor.copy_(saved)

    monkeypatch.setattr(WRITERS["torchvision"], "write", careless)
    with pytest.raises(ArtifactError, match="torchvision: differs from its checkpoint"):
        exported(chain, tmp_path / "out")
    assert not (tmp_path / "out" / "torchvision").exists()
    assert not (tmp_path / "out" / "artifact.json").exists()


def test_a_library_that_is_not_installed_is_written_for_and_said_to_be_unchecked(
    chain: tuple[Path, Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("transformers", "vissl", "onnx", "torch_export"):
        monkeypatch.delitem(WRITERS, name)
    monkeypatch.setattr("pipeline.released.writers.writer.find_spec", lambda package: None)
    made = exported(chain, tmp_path / "out", layouts=None)
    text = (made.path / "README.md").read_text()
    assert "| torchvision | `torchvision/` | not checked | torchvision was not installed |" in text
    assert "- timm: its networks are built by name, and none has" in text
    assert made.figures["largest_difference"] == 0
