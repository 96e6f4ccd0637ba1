"""Where shards go: an S3 bucket holds in the end what a directory would, also after kills."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_shards.errors import OutputError
from data_shards.manifest import Manifest
from data_shards.packing import target as module
from data_shards.packing.target import Url
from tests.data_shards.pictures import contents, listed, mixed, pack_into
from tests.data_shards.readers.servers import s3

URL = "s3://pictures/shards"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with s3(monkeypatch) as client:
        yield client


def objects(client: Any) -> dict[str, bytes]:
    """Everything below the URL, by name."""
    found = client.list_objects_v2(Bucket="pictures", Prefix="shards/").get("Contents", [])
    names = [entry["Key"] for entry in found]
    return {
        name.removeprefix("shards/"): client.get_object(Bucket="pictures", Key=name)["Body"].read() for name in names
    }


@pytest.mark.parametrize("length", [100, 7])
def test_a_bucket_holds_what_a_directory_would(bucket: Any, length: int, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"samples_per_shard": 5, "images_per_slice": length}
    local = pack_into(tmp_path / "local", mixed(), **settings)
    remote = pack_into(tmp_path / "remote", mixed(), to=URL, **settings)
    assert objects(bucket) == contents(tmp_path / "local")
    assert (remote.root, remote.at, local.at) == (local.root, URL, None)
    assert list(contents(tmp_path / "remote")) == ["manifest.json"], "nothing else stays on the disk"
    assert Manifest.load(tmp_path / "remote") == remote
    assert pack_into(tmp_path / "remote", mixed(), to=URL, **settings) == remote


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_kill_at_any_request_and_the_same_command_give_the_same_objects(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data_shards.packing import lease

    # The leases of a process that died must not be held by this one, which lives on.
    dead = {"host": "here", "machine": lease._me()["machine"], "pid": 1 << 30, "started": "once"}
    monkeypatch.setattr(lease, "_me", lambda: dead)
    settings: dict[str, Any] = {"samples_per_shard": 5, "images_per_slice": 9, "to": URL}
    pack_into(tmp_path / "local", mixed(18), **{**settings, "to": None})
    calls = ("upload", "move", "remove", "write", "exists")
    step, finished = 1, False
    while not finished:
        done = 0

        def counted(name: str, real: Any, limit: int = step) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal done
                done += 1
                if done == limit:
                    raise Killed
                result = real(*arguments, **options)
                if done == limit - 1 and name != "exists":  # after the request, before anything is noted
                    done += 1
                    raise Killed
                return result

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in calls:
                patch.setattr(module.remote, name, counted(name, getattr(module.remote, name)))
            try:
                pack_into(tmp_path / f"out{step}", mixed(18), **settings)
                finished = True
            except Killed:
                pass
        pack_into(tmp_path / f"out{step}", mixed(18), **settings)
        assert objects(bucket) == contents(tmp_path / "local"), f"after a kill at request {step}"
        for name in objects(bucket):
            bucket.delete_object(Bucket="pictures", Key=f"shards/{name}")
        step += 3
    assert step > 20


def test_a_bucket_that_holds_tars_is_not_written_to(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Bucket="pictures", Key="shards/mine.tar", Body=b"")
    with pytest.raises(OutputError, match=r"s3://pictures/shards: already holds mine\.tar; choose an empty directory"):
        pack_into(tmp_path, listed(3), to=URL)


def test_another_url_on_resume_is_refused(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Url, "place", die)
        with pytest.raises(Killed):
            pack_into(tmp_path, listed(3), to=URL)
    with pytest.raises(OutputError, match="unfinished packing, but to was 's3://pictures/shards' and is now None"):
        pack_into(tmp_path, listed(3))
    assert pack_into(tmp_path, listed(3), to=URL).totals["accepted"] == 3
