"""Packing: what goes in comes out, everything is accounted for, and it can be stopped anywhere."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from data_shards.errors import OutputError, SampleRateError, SourceError
from data_shards.pack import pack
from data_shards.packing.settings import PackSettings
from data_shards.stream import ShardSet
from tests.data_shards.pictures import Listed, contents, jpeg, listed, mixed, pack_into


def test_every_image_comes_out_with_its_label_and_its_story(tmp_path: Path) -> None:
    reader = listed(10, classes=3, test=4)
    manifest = pack_into(tmp_path, reader, samples_per_shard=4)
    assert manifest.totals == {"listed": 14, "accepted": 14, "quarantined": 0, "duplicates": 0}
    assert [(s.name, s.samples, s.first_index) for s in manifest.shards] == [
        ("train-000000.tar", 4, 0),
        ("train-000001.tar", 4, 4),
        ("train-000002.tar", 2, 8),
        ("test-000000.tar", 4, 0),
    ]
    for shard in manifest.shards:
        data = (tmp_path / shard.name).read_bytes()
        assert len(data) == shard.bytes
        for _, _, _, image in reader.images:  # the hash of a shard takes the hash of an image for its bytes
            data = data.replace(image, hashlib.sha256(image).digest())
        assert hashlib.sha256(data).hexdigest() == shard.hash
    train = ShardSet(tmp_path, "train")
    for index in range(10):
        name, _, label, image = reader.images[index]
        assert train.image(index) == image
        assert train.classes[train.label(index // 4, index % 4)] == label
        with tarfile.open(tmp_path / manifest.shards[index // 4].name) as tar:
            story = json.load(tar.extractfile(train.key(index // 4, index % 4) + ".json"))  # type: ignore[arg-type]
        assert story == {
            "source": name,
            "sha256": hashlib.sha256(image).hexdigest(),
            "format": "jpeg",
            "width": 10,
            "height": 12,
            "split": "train",
            "label": label,
        }


# The library leaves its tars open; a collection inside the test keeps the warning out of other tests.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_webdataset_library_reads_the_shards(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    reader = listed(6)
    pack_into(tmp_path, reader, samples_per_shard=3)
    urls = [str(tmp_path / f"train-00000{n}.tar") for n in range(2)]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["jpg"] for sample in samples] == [image for *_, image in reader.images]
    assert [int(sample["cls"]) for sample in samples] == [0, 1, 2, 0, 1, 2]
    assert json.loads(samples[0]["json"])["source"] == "0/0.jpg"
    gc.collect()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_bytes_do_not_depend_on_the_threads(threads: int, tmp_path: Path) -> None:
    for out, count in ((tmp_path / "one", 1), (tmp_path / "many", threads)):
        pack_into(out, mixed(), samples_per_shard=6, threads=count)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_what_is_rejected_is_kept_and_named(tmp_path: Path) -> None:
    reader = mixed()
    manifest = pack_into(tmp_path, reader)
    assert manifest.totals == {"listed": 40, "accepted": 28, "quarantined": 8, "duplicates": 4}
    assert manifest.reasons == {"not_an_image": 4, "truncated": 4}
    lines = [json.loads(line) for line in (tmp_path / "quarantine/ledger.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == [3, 5, 13, 15, 23, 25, 33, 35]
    with tarfile.open(tmp_path / "quarantine/images-000000.tar") as tar:
        for line in lines:
            image = tar.extractfile(line["member"]).read()  # type: ignore[union-attr]
            assert image == reader.images[line["number"]][3]
            assert hashlib.sha256(image).hexdigest() == line["hash"]


def test_of_equal_images_the_first_is_kept_over_all_splits(tmp_path: Path) -> None:
    rows = [("a", "train", None, jpeg(1)), ("b", "test", None, jpeg(1)), ("c", "test", None, jpeg(2))]
    assert pack_into(tmp_path / "once", Listed(rows)).totals["duplicates"] == 1
    assert ShardSet(tmp_path / "once", "test").samples == 1
    kept = pack_into(tmp_path / "all", Listed(rows), duplicates="keep")
    assert (kept.totals["duplicates"], kept.samples("test")) == (0, 2)


def test_a_shard_never_exceeds_its_bytes(tmp_path: Path) -> None:
    manifest = pack_into(tmp_path, listed(30), bytes_per_shard=12_000)
    assert len(manifest.shards) > 3
    assert all(shard.bytes <= 12_000 for shard in manifest.shards)
    large = pack_into(tmp_path / "large", listed(3), bytes_per_shard=100)
    assert [shard.samples for shard in large.shards] == [1, 1, 1], "a sample larger than a shard has one of its own"


def test_packing_again_does_nothing(tmp_path: Path) -> None:
    first = pack_into(tmp_path, mixed())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert pack_into(tmp_path, mixed()) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_another_source_or_other_settings_are_refused_with_what_changed(tmp_path: Path) -> None:
    pack_into(tmp_path, mixed())
    with pytest.raises(OutputError, match=r"shard set, but probe was 'strict' and is now 'full'"):
        pack_into(tmp_path, mixed(), probe="full")
    with pytest.raises(OutputError, match=r"its source listed 40 images and now lists 41"):
        pack_into(tmp_path, mixed(41))
    renamed = mixed()
    renamed.images[0] = ("other.jpg", *renamed.images[0][1:])
    with pytest.raises(OutputError, match="its source lists other images now, though 40 as before"):
        pack_into(tmp_path, renamed)


def test_a_source_of_nothing_usable_says_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none of its 3 images can be used: 2 not_an_image, 1 empty"):
        pack_into(tmp_path, Listed([(str(n), "train", None, image) for n, image in enumerate((b"x", b"y", b""))]))
    assert list(tmp_path.iterdir()) == []
    pack_into(tmp_path, listed(2))


def test_too_many_bad_images_stop_the_packing_and_a_higher_limit_goes_on(tmp_path: Path) -> None:
    rows = [(str(n), "train", None, jpeg(n) if n < 60 else b"no") for n in range(200)]
    for _ in range(2):
        with pytest.raises(SampleRateError, match="50 of the first 110 images are unusable: 50 not_an_image"):
            pack_into(tmp_path, Listed(rows), max_bad=0.45)
    assert pack_into(tmp_path, Listed(rows), max_bad=1.0).totals["accepted"] == 60
    pack_into(tmp_path / "at once", Listed(rows), max_bad=1.0)
    assert (
        contents(tmp_path / "at once").items()
        <= {k.removeprefix("at once/"): v for k, v in contents(tmp_path).items()}.items()
    )


def test_a_file_that_vanishes_or_cannot_be_read_is_quarantined(tmp_path: Path) -> None:
    class Faulty(Listed):
        def read(self, entry: Any) -> bytes:
            if entry.name == "1":
                raise FileNotFoundError(errno.ENOENT, "gone")
            if entry.name == "2":
                raise PermissionError(errno.EACCES, "Permission denied")
            return super().read(entry)

    manifest = pack_into(tmp_path, Faulty([(str(n), "train", None, jpeg(n)) for n in range(5)]))
    assert manifest.reasons == {"unreadable": 1, "vanished": 1}
    lines = [json.loads(line) for line in (tmp_path / "quarantine/ledger.jsonl").read_text().splitlines()]
    assert [(line["reason"], line["member"]) for line in lines] == [("vanished", None), ("unreadable", None)]


def test_odd_names_become_plain_members_and_stay_in_the_metadata(tmp_path: Path) -> None:
    names = [
        "../../etc/passwd.jpg",
        "/abs.jpg",
        "a b\nc.jpg",
        "ü" * 200 + ".jpg",
        b"\xff.jpg".decode("utf8", "surrogateescape"),
    ]
    pack_into(tmp_path, Listed([(name, "train", None, jpeg(n)) for n, name in enumerate(names)]))
    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        members = tar.getnames()
        stories = [json.load(tar.extractfile(name)) for name in members if name.endswith(".json")]  # type: ignore[arg-type]
    assert [story["source"] for story in stories] == names
    assert all(name.isascii() and "/" not in name and " " not in name and name.count(".") == 1 for name in members)


def test_an_output_that_is_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is in the way: it is a file"):
        pack_into(tmp_path / "file", listed(2))
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars/foreign.tar").write_text("")
    with pytest.raises(OutputError, match=r"already holds foreign\.tar"):
        pack_into(tmp_path / "tars", listed(2))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").write_text("kept")
    pack_into(tmp_path / "other", listed(2))
    assert (tmp_path / "other/config.yaml").read_text() == "kept"


def test_a_finished_set_that_lost_a_shard_is_not_called_finished(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(5))
    (tmp_path / "train-000000.tar").unlink()
    with pytest.raises(OutputError, match=r"train-000000\.tar: is missing from a finished shard set"):
        pack_into(tmp_path, listed(5))


def test_an_error_in_a_worker_is_not_swallowed(tmp_path: Path) -> None:
    class Broken(Listed):
        def read(self, entry: Any) -> bytes:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pack(Broken(listed(5).images), tmp_path, PackSettings(threads=2))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="samples_per_shard"):
        PackSettings(samples_per_shard=0)
    with pytest.raises(ValueError, match="max_bad is a share"):
        PackSettings(max_bad=0)


def test_the_wids_library_opens_the_shards_by_their_list(tmp_path: Path) -> None:
    wids = pytest.importorskip("wids", reason="wids comes with the extra dev")
    reader = listed(7, test=2)
    pack_into(tmp_path, reader, samples_per_shard=3)
    for split, images in (("train", reader.images[:7]), ("test", reader.images[7:])):
        index = str(tmp_path / f"{split}.wids.json")
        dataset = wids.ShardListDataset(index, transformations=[], keep=True, localname=str)
        assert len(dataset) == len(images)
        for sample, (name, _, _, image) in zip(dataset, images, strict=True):
            assert sample[".jpg"].read() == image
            assert json.load(sample[".json"])["source"] == name
