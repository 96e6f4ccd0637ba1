"""Many files in one word, compared with how WebDataset expands it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.errors import SourceError
from data_shards.readers.patterns import expand, names_of, splits_of

PIECES = st.sampled_from(
    ["a", "x-", "{0..3}", "{00..11}", "{b,c}", "{a..c}", "{1..9..4}", "::s3://b/", "{b,{c,d}}", ".tar"]
)


@settings(deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=4).map("".join))
def test_braces_expand_as_in_webdataset(text: str) -> None:
    expand_urls = pytest.importorskip("webdataset.shardlists").expand_urls
    word = f"s3://bucket/{text}"
    assert expand(word, "tar") == expand_urls(word)


def test_stars_match_what_is_there(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "c.txt", "{x}*.tar"):
        (tmp_path / name).touch()
    assert [Path(path).name for path in expand(f"{tmp_path}/?.tar", "tar")] == ["a.tar", "b.tar"]
    assert expand(f"{tmp_path}/{{b,a}}.tar::{tmp_path}/c.*", "tar") == [
        f"{tmp_path}/{n}" for n in ("b.tar", "a.tar", "c.txt")
    ]
    assert expand(f"{tmp_path}/{{x}}*.tar", "tar") == [f"{tmp_path}/{{x}}*.tar"], "what exists is taken as it is"
    assert expand("pipe:cat *.tar", "tar") == ["pipe:cat *.tar"]


def test_what_is_missing_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x-1.tar").touch()
    with pytest.raises(SourceError, match=r"x-2\.tar: there is no such tar; give the path of an existing tar"):
        expand(f"{tmp_path}/x-{{1..3}}.tar", "tar")
    with pytest.raises(SourceError, match=r"\*\.zip: there is no such archive"):
        expand(f"{tmp_path}/*.zip", "archive")
    with pytest.raises(SourceError, match="its braces do not match"):
        expand("x-{1..3.tar", "tar")


def test_short_names_are_different_for_different_paths() -> None:
    assert names_of(["/x/a.tar", "/y/b.tar"]) == ["a.tar", "b.tar"]
    assert names_of(["/x/0/a.tar", "/y/0/a.tar"]) == ["x/0/a.tar", "y/0/a.tar"]
    assert names_of(["/x/a.tar", "/x/a.tar"]) == ["a.tar", "a.tar"]
    assert names_of(["s3://b/a.tar", "a.tar"]) == ["b/a.tar", "a.tar"]


def test_splits_are_words_in_names_or_folders() -> None:
    assert splits_of(["x-train-0.tar", "a/val/0.tar", "trained.tar"]) == ["train", "test", "train"]
    assert splits_of(["train/0.tar", "VALIDATION_1.tar", "test.tar"]) == ["train", None, "test"]
