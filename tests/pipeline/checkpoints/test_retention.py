"""What is kept: the last, every K-th, the best; and what a restore passed over goes."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.checkpoints import retention
from pipeline.checkpoints.manifest import Saved, directories
from pipeline.checkpoints.retention import Retention
from pipeline.checkpoints.store import FOLDER, Position, Saver
from pipeline.errors import RunError
from tests.pipeline.checkpoints.trainings import state_of, trained

FIGURES = {10: 0.1, 20: 0.5, 30: 0.3, 40: 0.5, 50: 0.2}


def steps(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in directories(run / FOLDER))


def saved_all(run: Path, keep: Retention) -> list[list[int]]:
    saver = Saver(run, keep)
    seen = []
    for step, knn in FIGURES.items():
        saver.save(state_of(trained(1)), Position(step=step, consumed=step, figures={"knn": knn}), wait=True)
        seen.append(steps(run))
    saver.close()
    return seen


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (Retention(last=1), [50]),
        (Retention(last=2), [40, 50]),
        (Retention(last=1, every=20), [20, 40, 50]),
        (Retention(last=1, best=1), [40, 50]),
        (Retention(last=1, best=2), [20, 40, 50]),
        (Retention(last=1, best=1, order="lowest"), [10, 50]),
        (Retention(last=1, best=3, figure="unknown"), [50]),
        (Retention(last=9), [10, 20, 30, 40, 50]),
    ],
)
def test_what_is_left_of_five(keep: Retention, left: list[int], tmp_path: Path) -> None:
    seen = saved_all(tmp_path, keep)
    assert seen[-1] == left
    assert all(now[-1] == step for now, step in zip(seen, FIGURES, strict=True)), "the newest always stays"


@given(
    st.lists(st.tuples(st.integers(1, 99), st.one_of(st.none(), st.floats(0, 1))), unique_by=lambda pair: pair[0]),
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(0, 4),
)
def test_no_more_is_kept_than_was_asked_for(
    runs: list[tuple[int, float | None]], last: int, every: int, best: int
) -> None:
    found = [Saved(Path(str(s)), s, 0, figures={} if f is None else {"knn": f}) for s, f in runs]
    kept = {int(str(path)) for path in Retention(last=last, every=every, best=best).kept(found)}
    ranked = sorted((step for step, _ in runs), reverse=True)
    assert kept >= set(ranked[:last])
    assert kept >= {step for step in ranked if every and step % every == 0}
    chosen_by_figure = kept - set(ranked[:last]) - {step for step in ranked if every and step % every == 0}
    assert len(chosen_by_figure) <= best
    worst = min((f for s, f in runs if s in chosen_by_figure and f is not None), default=0.0)
    left_out = [f for s, f in runs if s not in kept and f is not None]
    assert not best or not chosen_by_figure or all(figure <= worst for figure in left_out)


def test_a_checkpoint_that_was_passed_over_does_not_push_out_good_ones(tmp_path: Path) -> None:
    saved_all(tmp_path, Retention(last=9))
    (tmp_path / FOLDER / "step-000000050" / "tensors.json").write_text("damaged")
    (tmp_path / FOLDER / "step-000000030" / "manifest.json").write_text("damaged")
    saver = Saver(tmp_path, Retention(last=2))
    saver.save(state_of(trained(1)), Position(step=45, consumed=45), wait=True)  # after going on from 40
    saver.close()
    assert steps(tmp_path) == [40, 45]


def test_leftovers_of_killed_saves_and_removals_go_at_the_next_start(tmp_path: Path) -> None:
    saved_all(tmp_path, Retention(last=2))
    for name in (".step-000000060.tmp", ".step-000000010.old"):
        shutil.copytree(tmp_path / FOLDER / "step-000000050", tmp_path / FOLDER / name)
    Saver(tmp_path).close()
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["latest", "step-000000040", "step-000000050"]


def test_a_disk_too_small_for_the_next_one_is_a_sentence_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved_all(tmp_path, Retention(last=2))
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(retention.shutil, "disk_usage", lambda _: usage(5_000))
    saver = Saver(tmp_path, Retention(last=2))
    with pytest.raises(RunError, match=r"step 60 takes .* kB, and 5.0 kB of space are left on the disk"):
        saver.save(state_of(trained(1)), Position(step=60, consumed=60), wait=True)
    saver.close()
    assert steps(tmp_path) == [50], "what would go after the save went before it, the newest stayed"


def test_a_retention_that_keeps_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="the newest checkpoint is always kept"):
        Retention(last=0)
