"""`python -m pipeline checkpoint`: short tables, exit statuses, and one file of weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.__main__ import main
from pipeline.checkpoints.store import Position, Saver, save
from tests.distributed import on_processes
from tests.pipeline.checkpoints.test_first_format import written
from tests.pipeline.checkpoints.trainings import sharded, state_of, trained


def save_on(rank: int, world: int, run: Path) -> None:
    save(run, state_of(sharded(world, "fsdp")), step=3, consumed=48, keep=2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    saver = Saver(tmp_path / "run")
    for step in (2, 3):
        figures = {"loss": 1.23456, "knn": 0.5}
        saver.save(state_of(trained(step)), Position(step=step, consumed=step * 16, figures=figures), wait=True)
    saver.close()
    return tmp_path / "run"


def test_verify_says_what_is_whole_and_what_is_not(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "verify", str(run), "deep=true"]) == 0
    says = capsys.readouterr().out.splitlines()
    assert [line[:24] for line in says] == ["step-000000003 is whole:", "step-000000002 is whole:"]
    assert "root " in says[0]
    assert "(files and tensors verified)" in says[0]
    (run / "checkpoints" / "step-000000003" / "tensors.json").unlink()
    assert main(["checkpoint", "verify", str(run / "checkpoints")]) == 1
    says = capsys.readouterr().out.splitlines()
    assert says[0] == "step-000000003 is damaged: tensors.json is missing"
    assert main(["checkpoint", "verify", str(run / "checkpoints" / "step-000000002")]) == 0


def test_list_is_a_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints" / "step-000000002" / "manifest.json").write_text("{")
    assert main(["checkpoint", "list", str(run)]) == 0
    head, newest, damaged = capsys.readouterr().out.splitlines()
    assert head.split() == ["checkpoint", "samples", "size", "processes", "written", "figures"]
    assert newest.split()[:2] == ["step-000000003", "48"]
    assert newest.endswith("loss=1.235 knn=0.5")
    assert "manifest.json cannot be read" in damaged


def test_diff_names_what_differs_and_by_how_much(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_of(trained(3))
    with torch.no_grad():
        state["objective"]["0.weight"][1, 2] += 0.25
    state["objective"]["3.bias"] = torch.zeros(4)
    state["objective"]["new"] = torch.zeros(1)
    state["optimizer"]["param_groups"][0]["lr"] = 0.5
    save(tmp_path / "other", state, step=3, consumed=48, keep=1)
    assert main(["checkpoint", "diff", str(run), str(run)]) == 0
    assert "hold the same tensors and values" in capsys.readouterr().out
    assert main(["checkpoint", "diff", str(run), str(tmp_path / "other")]) == 1
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["objective.0.weight", "1", "0.25"],
        ["objective.3.bias", "float32", "(3,)", "and", "float32", "(4,)"],
        ["objective.new", "only", "in", "the", "second"],
        ["optimizer.param_groups.0.lr", "0.1", "and", "0.5"],
    ]


def test_a_save_of_two_processes_does_not_differ_from_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on_processes(save_on, 2, tmp_path / "two")
    main(["checkpoint", "diff", str(run), str(tmp_path / "two")])
    assert "objective" not in capsys.readouterr().out
    written(tmp_path / "first", state_of(trained(3)))
    main(["checkpoint", "diff", str(run), str(tmp_path / "first")])
    assert "hold the same tensors" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["one", "two", "first"])
def test_consolidate_writes_one_file_that_needs_no_trust(kind: str, run: Path, tmp_path: Path) -> None:
    source, expected = run, trained(3)[0].state_dict()
    if kind == "two":
        source = tmp_path / "two"
        on_processes(save_on, 2, source)
    elif kind == "first":
        source = tmp_path / "first"
        written(source, state_of(trained(3)))
    for name in ("weights.safetensors", "weights.pt"):
        out = tmp_path / name
        assert main(["checkpoint", "consolidate", str(source), str(out)]) == 0
        found = load_file(out) if out.suffix == ".safetensors" else torch.load(out, weights_only=True)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["weights.pt", "weights.safetensors"]
    again = tmp_path / "again.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in expected.items()}, again)
    assert load_file(again).keys() == load_file(tmp_path / "weights.safetensors").keys()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["verfy", "x"], "is no command; commands are verify, list, diff, consolidate"),
        (["verify"], "was given 0 words"),
        (["verify", "nowhere"], "does not exist"),
        (["verify", "RUN", "depp=true"], "write deep=true"),
        (["consolidate", "RUN", "weights.bin"], "end it in .safetensors or .pt"),
        (["consolidate", "RUN", "/nowhere/weights.pt"], "/nowhere: does not exist"),
    ],
)
def test_mistakes_are_sentences(words: list[str], says: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", *(str(run) if word == "RUN" else word for word in words)]) == 2
    assert says in capsys.readouterr().err


def test_verify_and_list_start_without_torch(run: Path) -> None:
    code = (
        "import sys; from pipeline.__main__ import main\n"
        f"status = main(['checkpoint', 'verify', {str(run)!r}, 'deep=true'])\n"
        f"status += main(['checkpoint', 'list', {str(run)!r}])\n"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
