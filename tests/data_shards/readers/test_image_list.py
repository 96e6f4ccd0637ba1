"""Lists of paths and URLs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from data_shards.errors import ImageError, SourceError
from data_shards.readers.image_list import ImageList
from data_shards.readers.reader import Entry
from data_shards.remote import Patience, failures
from tests.data_shards.readers.files import folder_of
from tests.data_shards.readers.servers import Faulty, faulty, needs_nginx, nginx, s3


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Faulty, str]]:
    monkeypatch.setattr(failures, "PATIENCE", Patience(attempts=3, pause=0.001, time_limit=10))
    with faulty() as server:
        yield server


def build(path: Path, content: str, **settings: Any) -> ImageList:
    path.write_text(content, "utf-8")
    return ImageList.Config(path=str(path), **settings).build()


def rows(reader: ImageList) -> list[tuple[str, str, str | None]]:
    return [(entry.name, entry.split, entry.label) for entry in reader.entries()]


def test_a_text_file_names_paths_beside_it_and_anywhere(tmp_path: Path) -> None:
    folder_of(tmp_path, {"lists/a.jpg": b"a", "b.jpg": b"b", "c/with space.jpg": b"c"})
    reader = build(tmp_path / "lists/x.txt", f"a.jpg\r\n../b.jpg\n{tmp_path}/c/with space.jpg\n")
    assert [reader.read(entry) for entry in reader.entries()] == [b"a", b"b", b"c"]
    assert rows(reader)[0] == ("a.jpg", "train", None)
    assert not reader.waits
    elsewhere = build(tmp_path / "lists/y.txt", "b.jpg\nc/with space.jpg\nmissing.jpg\n", root=str(tmp_path))
    *good, missing = elsewhere.entries()
    assert [elsewhere.read(entry) for entry in good] == [b"b", b"c"]
    with pytest.raises(FileNotFoundError):
        elsewhere.read(missing)


def test_columns_are_found_by_their_names_or_named(tmp_path: Path) -> None:
    table = "ID,Filename,Class,split,caption\n1,a.jpg,cat,Train,one\n2,b.jpg,7,test,\n3,c.jpg,,,\n"
    found = build(tmp_path / "a.csv", table, metadata=("caption", "ID"))
    assert list(found.entries()) == [
        Entry("a.jpg", "train", "cat", str(tmp_path / "a.jpg"), {"caption": "one", "ID": "1"}),
        Entry("b.jpg", "test", "7", str(tmp_path / "b.jpg"), {"caption": None, "ID": "2"}),
        Entry("c.jpg", "train", None, str(tmp_path / "c.jpg"), {"caption": None, "ID": "3"}),
    ]
    named = build(tmp_path / "b.csv", table, image="ID", label="caption", split="")
    assert rows(named) == [("1", "train", "one"), ("2", "train", None), ("3", "train", None)]
    assert [label for _, _, label in rows(build(tmp_path / "c.csv", table, label=""))] == [None] * 3


def test_labels_that_a_table_made_numbers_are_words_again(tmp_path: Path) -> None:
    table = pyarrow.table({"url": ["a", "b", "c", "d"], "label": [1.0, None, 2.5, float("nan")], "n": [1, 2, 3, 4]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    reader = ImageList.Config(path=str(tmp_path / "x.parquet"), metadata=("n",)).build()
    assert [label for _, _, label in rows(reader)] == ["1", None, "2.5", None]
    assert [entry.metadata for entry in reader.entries()] == [{"n": n} for n in (1, 2, 3, 4)]


def test_a_row_without_an_image_is_listed_and_rejected(tmp_path: Path) -> None:
    reader = build(tmp_path / "x.csv", "path,label\n,cat\na.jpg,dog\n")
    empty, _ = reader.entries()
    assert (empty.name, empty.label, empty.location) == ("x.csv row 1", "cat", None)
    with pytest.raises(ImageError, match="not_found: its row names no image"):
        reader.read(empty)


def test_several_lists_are_one(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"part-{number}.txt").write_text(f"{number}.jpg\n")
    for pattern in ("part-{0..2}.txt", "part-*.txt"):
        reader = ImageList.Config(path=str(tmp_path / pattern)).build()
        assert [name for name, _, _ in rows(reader)] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_share_of_the_train_rows_is_held_out(tmp_path: Path) -> None:
    table = "path,split\n" + "".join(f"{n}.jpg,{'train' if n % 2 else 'more'}\n" for n in range(400))
    splits = [split for _, split, _ in rows(build(tmp_path / "x.csv", table, holdout=0.25))]
    assert splits.count("more") == 200
    assert 30 < splits.count("test") < 70


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    table = "path,label,caption\na.jpg,1,x\n"
    message = r"has no column 'captions'; did you mean caption\? it has path, label, caption"
    with pytest.raises(SourceError, match=message):
        build(tmp_path / "a.csv", table, metadata=("captions",))
    with pytest.raises(SourceError, match=r"has no column 'q'; it has path, label, caption"):
        build(tmp_path / "a.csv", table, image="q")
    with pytest.raises(SourceError, match=r"none of its columns is known to hold images: a, b; name one with image="):
        build(tmp_path / "b.csv", "a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"none of its columns .*: it is empty"):
        build(tmp_path / "c.csv", "")
    with pytest.raises(SourceError, match="holds no row"):
        list(build(tmp_path / "d.csv", "path\n").entries())
    with pytest.raises(SourceError, match=r"row 1 has the split '\.\./x'; a split is a word such as train or test"):
        build(tmp_path / "e.csv", "path,split\na.jpg,../x\n")
    with pytest.raises(SourceError, match="its column image holds int and no paths; name another with image="):
        build(tmp_path / "f.jsonl", '{"image": 3}\n')
    with pytest.raises(SourceError, match="there is no such list"):
        ImageList.Config(path=str(tmp_path / "none.csv")).build()
    (tmp_path / "x.doc").write_text("x")
    with pytest.raises(SourceError, match=r"is no list; give a \.txt, \.csv"):
        ImageList.Config(path=str(tmp_path / "x.doc")).build()


def test_a_list_of_urls_is_read_by_many_threads_and_loses_nothing(tmp_path: Path, failing: tuple[Faulty, str]) -> None:
    server, address = failing
    kinds = ["good", "fails/1", "fails/9", "status/404", "status/403", "cut/1", "cut/9"]
    table = "URL,label\n" + "".join(f"{address}/{kind}/{n},{n % 3}\n" for n in range(30) for kind in kinds)
    reader = build(tmp_path / "x.csv", table)
    assert reader.waits

    def outcome(entry: Entry) -> str:
        try:
            return "good" if reader.read(entry) == entry.name.removeprefix(address).encode() else "wrong"
        except ImageError as error:
            return error.reason

    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(outcome, reader.entries()))
    assert found == ["good", "good", "unreachable", "not_found", "forbidden", "good", "unreachable"] * 30
    assert server.seen[f"/fails/9/{0}"] == 3


@needs_nginx
def test_a_list_on_a_web_server_names_images_beside_it(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"file": ["a.jpg", "deep/b.jpg"]}), tmp_path / "x.parquet")
    folder_of(tmp_path, {"root/a.jpg": b"a", "root/deep/b.jpg": b"b", "root/x.txt": b"a.jpg\ndeep/b.jpg\n"})
    folder_of(tmp_path, {"root/x.parquet": (tmp_path / "x.parquet").read_bytes()})
    with nginx(tmp_path / "root", tmp_path) as address:
        for path in ("x.txt", "x.parquet", "unpacked/x.txt", "unpacked/x.parquet"):
            reader = ImageList.Config(path=f"{address}/{path}").build()
            assert [reader.read(entry) for entry in reader.entries()] == [b"a", b"b"]
            assert reader.waits
        with pytest.raises(SourceError, match=r"none\.csv: cannot be read \(there is no such file \(HTTP 404\)\)"):
            ImageList.Config(path=f"{address}/none.csv").build()


def test_a_list_in_a_bucket_names_images_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local.jpg").write_bytes(b"local")
    with s3(monkeypatch) as client:
        client.put_object(Bucket="pictures", Key="deep/a.jpg", Body=b"a")
        for number in range(2):
            text = f"path\na.jpg\ns3://pictures/deep/a.jpg\n{tmp_path}/local.jpg\n"
            client.put_object(Bucket="pictures", Key=f"deep/part-{number}.csv", Body=text.encode())
        reader = ImageList.Config(path="s3://pictures/deep/part-*.csv").build()
        assert [reader.read(entry) for entry in reader.entries()] == [b"a", b"a", b"local"] * 2
        with pytest.raises(SourceError, match="there is no such list"):
            ImageList.Config(path="s3://pictures/none-*.csv").build()
