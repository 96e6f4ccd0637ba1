"""A file of features in each format: what is written is read, by us and by others, and nothing half-written shows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ArtifactError
from pipeline.evaluation.feature_sets import columns

CONTENT = {
    "index": np.array([0, 2, 5]),
    "label": np.array([1, -1, 0]),
    "key": np.array(["a", "b-ü", "c"]),
    "average": np.arange(12, dtype=np.float32).reshape(3, 4),
    "res4 pool 2x1": np.arange(6, dtype=np.float16).reshape(3, 2),
}


@pytest.mark.parametrize("form", ["npz", "parquet"])
@pytest.mark.parametrize("rows", [3, 0])
def test_what_is_written_is_read(form: str, rows: int, tmp_path: Path) -> None:
    path, content = tmp_path / f"part.{form}", {name: values[:rows] for name, values in CONTENT.items()}
    facts = columns.write(path, content)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert facts == {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    for name, found in zip(content, columns.read(path, *content), strict=True):
        np.testing.assert_array_equal(found, content[name])
        assert found.shape == content[name].shape
        if name != "key":
            assert found.dtype == content[name].dtype


def test_equal_content_makes_equal_files(tmp_path: Path) -> None:
    for form in ("npz", "parquet"):
        assert columns.write(tmp_path / f"a.{form}", CONTENT) == columns.write(tmp_path / f"b.{form}", CONTENT)


def test_other_tools_read_them(tmp_path: Path) -> None:
    columns.write(tmp_path / "a.npz", CONTENT)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file) == set(CONTENT)
    columns.write(tmp_path / "a.parquet", CONTENT)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert rows[1]["key"] == "b-ü"
    assert rows[1]["average"] == [4.0, 5.0, 6.0, 7.0]


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_what_cannot_be_read_is_said(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"part.{form}"
    columns.write(path, CONTENT)
    with pytest.raises(ArtifactError, match="cannot be read"):
        columns.read(path, "median")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ArtifactError, match=r"cannot be read .* remove it and run `features` again"):
        columns.read(path, "index")
