"""Lanes of the chain's drawing never hold two runs at once."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.lineage import allot, last_readers, lineage
from pipeline.report.read import read_all
from tests.pipeline.report.made import chain, finished


@st.composite
def chains(draw: st.DrawFn) -> list[list[int]]:
    """For each run the earlier ones it was made from."""
    size = draw(st.integers(1, 12))
    return [draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True)) if i else [] for i in range(size)]


@given(chains())
def test_a_lane_is_free_until_its_last_reader_has_its_row(parents: list[list[int]]) -> None:
    lanes, last = allot(parents), last_readers(parents)
    for i, lane in enumerate(lanes):
        for j in range(i):
            if lanes[j] == lane:
                assert last[j] < i or (last[j] == i and j in parents[i])
    assert max(lanes) < len(parents)


def test_each_run_links_to_what_it_was_made_from_and_shows_its_hashes(tmp_path: Path) -> None:
    runs = read_all(chain(tmp_path))
    html = lineage(runs)
    assert html.count("<svg") == len(runs)
    for run in runs:
        assert f'title="{run.fingerprint}">{run.fingerprint[:10]}</code>' in html
        assert f'title="{run.content}">{run.content[:10]}</code>' in html
    assert 'href="#run-0" title="content' in html


def test_an_input_elsewhere_is_named_and_one_made_again_since_is_said_to_be(tmp_path: Path) -> None:
    shards = finished(tmp_path / "shard", "shard", "shards")
    probe = finished(tmp_path / "probe", "probe", "scores", inputs={"shards": shards})
    assert str(shards) in lineage(read_all([probe]))
    text = (shards / "artifact.json").read_text()
    content = read_all([shards])[0].content
    (shards / "artifact.json").write_text(text.replace(content, "f" * 64))
    assert "made again since" in lineage(read_all([shards, probe]))


def test_a_moved_chain_is_still_linked_by_content(tmp_path: Path) -> None:
    chain(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    runs = read_all([tmp_path / "after" / name for name in ("shard", "pretrain")])
    assert 'href="#run-0" title="content' in lineage(runs)
