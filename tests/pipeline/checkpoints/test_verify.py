"""Any damage to a checkpoint is found, and the one before is taken."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pipeline.checkpoints.manifest import Saved, manifest_text, read_manifest
from pipeline.checkpoints.store import latest, save, verify
from tests.pipeline.checkpoints.trainings import state_of, trained

DAMAGES = 600


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints after the first and the second step."""
    folder = tmp_path_factory.mktemp("run")
    for step in (1, 2):
        save(folder, state_of(trained(step)), step=step, consumed=step * 16, keep=9)
    return folder


def flipped(content: bytes, bit: int) -> bytes:
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]


def newest(run: Path) -> Path:
    return run / "checkpoints" / "step-000000002"


def test_every_flipped_bit_cut_or_lost_file_is_found_and_the_one_before_is_taken(run: Path) -> None:
    draw = random.Random(0)
    files = sorted(newest(run).iterdir())
    assert len(files) == 3
    for _ in range(DAMAGES):
        victim, kind = draw.choice(files), draw.choice(["flip", "flip", "flip", "cut", "lose"])
        content = victim.read_bytes()
        if kind == "flip":
            victim.write_bytes(flipped(content, draw.randrange(len(content) * 8)))
        elif kind == "cut":
            victim.write_bytes(content[: draw.randrange(len(content))])
        else:
            victim.unlink()
        found, passed_over = latest(run)
        assert found is not None
        assert found.step == 1, f"{kind} in {victim.name} was not found"
        assert len(passed_over) == 1
        assert passed_over[0].startswith("step-000000002 is damaged (")
        assert victim.name in passed_over[0]
        victim.write_bytes(content)
    found, passed_over = latest(run)
    assert found is not None
    assert (found.step, passed_over) == (2, [])


def test_the_bits_of_a_manifest_count_that_change_nothing_it_says(run: Path) -> None:
    path = newest(run) / "manifest.json"
    content = path.read_bytes()
    for bit in range(0, len(content) * 8, 7):
        path.write_bytes(flipped(content, bit))
        assert verify(newest(run)), f"bit {bit}"
    path.write_bytes(content)
    assert verify(newest(run)) == []


def test_tensors_that_are_not_those_of_the_root_are_found_by_the_deep_look(run: Path, tmp_path: Path) -> None:
    saved = save(tmp_path, state_of(trained()), step=3, consumed=48, keep=2)
    assert verify(saved.path, deep=True) == []
    part = saved.path / "part-00000-of-00001.safetensors"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    # Someone who changes weights and writes fresh hashes of the files around them.
    facts = read_manifest(saved.path)
    from pipeline.artifacts import describe_files

    facts["files"] = describe_files(saved.path, facts["files"])
    (saved.path / "manifest.json").write_text(manifest_text(facts))
    assert verify(saved.path) == []
    assert any("does not have the content that tensors.json says" in fault for fault in verify(saved.path, deep=True))
    index = json.loads((saved.path / "tensors.json").read_text())
    index["tensors"]["objective.0.bias"]["content"] = "0" * 64
    (saved.path / "tensors.json").write_text(json.dumps(index))
    facts["files"] = describe_files(saved.path, facts["files"])
    (saved.path / "manifest.json").write_text(manifest_text(facts))
    assert any("do not have the root that manifest.json says" in fault for fault in verify(saved.path, deep=True))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (manifest_text({"format": 3, "step": 1, "consumed": 1, "files": {}}), "has format 3, and this version reads"),
        (manifest_text({"format": 2, "step": 1, "consumed": 1, "files": {"../x": {}}}), "outside of its directory"),
        (manifest_text({"format": 2, "files": {}}), "has format 2"),
    ],
)
def test_a_manifest_of_anything_else_is_a_sentence(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "step-000000001"
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(text)
    found, passed_over = latest(tmp_path)
    assert found is None
    assert says in passed_over[0]


def test_a_manifest_says_what_wrote_it(run: Path) -> None:
    saved = Saved.load(newest(run))
    assert saved.step == 2
    assert saved.processes == 1
    assert len(saved.root) == 64
    assert saved.code["torch"]
    assert saved.bytes == sum(path.stat().st_size for path in newest(run).iterdir() if path.name != "manifest.json")
    assert (run / "checkpoints" / "latest").read_text() == "step-000000002\n"
