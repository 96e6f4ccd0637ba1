"""Folders of images of many shapes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_shards import sorting
from data_shards.errors import ImageError, SourceError
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.reader import Entry
from tests.data_shards.readers.servers import needs_nginx, nginx, s3


def build(root: Path, names: list[str], **settings: object) -> ImageFolder:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
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


def test_links_in_circles_end(tmp_path: Path) -> None:
    reader = build(tmp_path, ["cat/1.jpg"])
    (tmp_path / "cat/again").symlink_to(tmp_path)
    assert listing(reader) == [("cat/1.jpg", "train", "cat")]


def test_a_link_to_itself_is_an_unreadable_image(tmp_path: Path) -> None:
    reader = build(tmp_path, ["cat/1.jpg"])
    (tmp_path / "cat/2.jpg").symlink_to(tmp_path / "cat/2.jpg")
    (tmp_path / "cat/3.jpg").symlink_to(tmp_path / "nothing")
    entries = list(reader.entries())
    assert [entry.name for entry in entries] == ["cat/1.jpg", "cat/2.jpg", "cat/3.jpg"]
    for entry in entries[1:]:
        with pytest.raises(OSError):
            reader.read(entry)


def test_folders_may_be_thousands_deep(tmp_path: Path) -> None:
    depth = 1500
    code = "import os, sys\nfor _ in range(int(sys.argv[1])): os.mkdir('d'); os.chdir('d')\nopen('x.jpg', 'w').close()"
    subprocess.run([sys.executable, "-c", code, str(depth)], cwd=tmp_path, check=True)
    try:
        assert [entry.name for entry in build(tmp_path, []).entries()] == ["d/" * depth + "x.jpg"]
    finally:
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # shutil and so pytest cannot go that deep


def test_names_are_sorted_on_the_disk_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    letters = ["a", "b", "Z", "-", " ", "\n", "é", "\U0001f600", "￿", "\udcff", "."]
    names = {"".join(rng.choices(letters[:-1], k=rng.randint(1, 3))) + rng.choice(letters) for _ in range(300)}
    files = [f"x{name}.jpg" for name in names] + [f"y{name}/x{n}.jpg" for name in sorted(names)[:40] for n in range(12)]
    reader = build(tmp_path, files)
    in_memory = [entry.name for entry in reader.entries()]
    assert sorted(in_memory) == sorted(files)
    assert in_memory == sorted(files, key=lambda name: name.split("/"))
    monkeypatch.setattr(sorting, "IN_MEMORY", 10)
    monkeypatch.setattr(sorting, "_FAN_IN", 4)
    assert [entry.name for entry in reader.entries()] == in_memory


def test_a_file_or_folder_without_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    reader = build(tmp_path, ["cat/1.jpg", "dog/2.jpg"])
    (tmp_path / "cat/1.jpg").chmod(0)
    with pytest.raises(PermissionError):
        reader.read(next(reader.entries()))
    (tmp_path / "dog").chmod(0)
    with pytest.raises(SourceError, match=r"dog: cannot be listed \(Permission denied\); make it readable"):
        list(reader.entries())
    (tmp_path / "dog").chmod(0o700)


def test_a_folder_that_cannot_be_listed_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = build(tmp_path, ["cat/1.jpg", "dog/2.jpg"])
    scan = os.scandir

    def forbidding(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    with pytest.raises(SourceError, match=r"dog: cannot be listed \(Permission denied\); make it readable"):
        list(reader.entries())


def test_a_bucket_is_listed_like_the_folder_it_was_copied_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["train/cat/1.jpg", "train/cat-b/1.png", "train/a.jpg", "val/cat/2.jpg", "else/x.jpg", "train/.h/x.jpg"]
    names += ["train/cat/notes.txt", "train/__M/x.jpg", "train/cat/with space.jpg", "train/ü/#?%20.jpg"]
    local = build(tmp_path, names)
    with s3(monkeypatch) as client:
        for name in names:
            client.put_object(Bucket="pictures", Key=f"copy/{name}", Body=name.encode())
        reader = ImageFolder.Config(path="s3://pictures/copy/").build()
        assert listing(reader) == listing(local)
        assert [reader.read(entry) for entry in reader.entries()] == [local.read(entry) for entry in local.entries()]
        assert (reader.waits, local.waits, reader.title) == (True, False, "s3://pictures/copy")
        for path, message in {
            "s3://pictures/none": "there is no such folder",
            "s3://nobody/x": "there is no such bucket",
        }.items():
            with pytest.raises(SourceError, match=message):
                ImageFolder.Config(path=path).build()
        gone = next(reader.entries())
        client.delete_object(Bucket="pictures", Key=f"copy/{gone.name}")
        with pytest.raises(ImageError, match="not_found"):
            reader.read(gone)


@needs_nginx
def test_the_listings_of_a_web_server_are_a_folder(tmp_path: Path) -> None:
    local = build(tmp_path / "root", ["cat/1.jpg", "dog/deep/2.jpg", "dog/3.txt"])
    with nginx(tmp_path / "root", tmp_path) as address:
        reader = ImageFolder.Config(path=address).build()
        assert listing(reader) == listing(local)
        assert [reader.read(entry) for entry in reader.entries()] == [b"cat/1.jpg", b"dog/deep/2.jpg"]


def test_names_that_are_no_text_pass_through(tmp_path: Path) -> None:
    reader = build(tmp_path, [])
    with open(os.path.join(os.fsencode(tmp_path), b"\xff\xfe.jpg"), "wb") as file:
        file.write(b"x")
    (entry,) = reader.entries()
    assert reader.read(Entry(*json.loads(json.dumps(entry)))) == b"x", "also after the listing was written and read"


def test_what_cannot_be_a_source_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such folder; give a folder that holds pictures"):
        build(tmp_path / "a", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="is a file"):
        ImageFolder.Config(path=str(tmp_path / "file")).build()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"holds no image file; give a folder that holds some \(\.avif"):
        next(ImageFolder.Config(path=str(tmp_path / "empty")).build().entries())
    with pytest.raises(ValueError, match="holdout is a share"):
        ImageFolder.Config(path="x", holdout=1.0)
