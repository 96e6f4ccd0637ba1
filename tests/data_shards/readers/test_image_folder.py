"""Folders of images of many shapes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_shards.errors import SourceError
from data_shards.readers.image_folder import ImageFolder


def build(root: Path, names: list[str], **settings: object) -> ImageFolder:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return ImageFolder.Config(path=str(root), **settings).build()  # type: ignore[arg-type]


def listing(reader: ImageFolder) -> list[tuple[str, str, str | None]]:
    return [(entry.name, entry.split, entry.label) for entry in reader.entries()]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    reader = build(tmp_path, ["b.JPG", "a.png", "notes.txt", ".hidden.jpg", "__MACOSX/x.jpg"])
    assert listing(reader) == [("a.png", "train", None), ("b.JPG", "train", None)]
    assert [reader.read(entry) for entry in reader.entries()] == [b"a.png", b"b.JPG"]


def test_folders_are_classes_at_their_first_level(tmp_path: Path) -> None:
    reader = build(tmp_path, ["dog/2.jpg", "dog/deep/er/1.jpg", "cat/1.jpg", "loose.jpg"])
    assert listing(reader) == [
        ("cat/1.jpg", "train", "cat"),
        ("dog/2.jpg", "train", "dog"),
        ("dog/deep/er/1.jpg", "train", "dog"),
        ("loose.jpg", "train", None),
    ]
    survey = reader.survey()
    assert (survey.entries, survey.classes) == (4, ("cat", "dog"))


def test_train_and_test_folders_are_splits(tmp_path: Path) -> None:
    names = ["train/cat/1.jpg", "test/dog/1.jpg", "val/cat/2.jpg", "elsewhere/3.jpg"]
    assert listing(build(tmp_path, names)) == [("train/cat/1.jpg", "train", "cat"), ("test/dog/1.jpg", "test", "dog")]


def test_val_counts_as_test_where_there_is_no_test(tmp_path: Path) -> None:
    names = ["train/cat/1.jpg", "val/cat/2.jpg"]
    assert listing(build(tmp_path, names)) == [("train/cat/1.jpg", "train", "cat"), ("val/cat/2.jpg", "test", "cat")]


def test_a_holdout_is_a_share_that_depends_on_names_alone(tmp_path: Path) -> None:
    names = [f"c{n % 4}/{n}.jpg" for n in range(400)]
    whole = {name: split for name, split, _ in listing(build(tmp_path / "a", names, holdout=0.2))}
    assert 50 < sum(split == "test" for split in whole.values()) < 110
    some = {name: split for name, split, _ in listing(build(tmp_path / "b", names[::3], holdout=0.2))}
    assert all(whole[name] == split for name, split in some.items())


def test_the_listing_hash_notices_a_renamed_file(tmp_path: Path) -> None:
    reader = build(tmp_path, ["a.jpg", "b.jpg"])
    before = reader.survey().listing
    assert reader.survey().listing == before
    (tmp_path / "a.jpg").rename(tmp_path / "c.jpg")
    assert reader.survey().listing != before


def test_labels_that_are_numbers_sort_as_numbers(tmp_path: Path) -> None:
    assert build(tmp_path, [f"{n}/x.jpg" for n in (10, 9, 1)]).survey().classes == ("1", "9", "10")


def test_links_in_circles_end(tmp_path: Path) -> None:
    reader = build(tmp_path, ["cat/1.jpg"])
    (tmp_path / "cat/again").symlink_to(tmp_path)
    assert listing(reader) == [("cat/1.jpg", "train", "cat")]


def test_names_that_are_no_text_pass_through(tmp_path: Path) -> None:
    reader = build(tmp_path, [])
    with open(os.path.join(os.fsencode(tmp_path), b"\xff\xfe.jpg"), "wb") as file:
        file.write(b"x")
    (entry,) = reader.entries()
    assert reader.read(entry) == b"x"
    assert reader.survey().entries == 1


def test_what_cannot_be_a_source_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such folder; give a folder that holds pictures"):
        build(tmp_path / "a", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="is a file"):
        ImageFolder.Config(path=str(tmp_path / "file")).build()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"holds no image file; give a folder that holds some \(\.avif"):
        ImageFolder.Config(path=str(tmp_path / "empty")).build().survey()
    with pytest.raises(ValueError, match="holdout is a share"):
        ImageFolder.Config(path="x", holdout=1.0)
