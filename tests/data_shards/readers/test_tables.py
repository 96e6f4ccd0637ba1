"""Rows of tables: what an independent writer wrote is what we read, column by column."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_shards.errors import SourceError
from data_shards.readers.tables import columns_of, ending_of, plain, rows_of

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NAMES = st.lists(TEXT.filter(lambda name: name.strip() and name[0] != "﻿"), min_size=1, max_size=4, unique=True)
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def tables(cells: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[list[str], list[list[Any]]]]:
    return NAMES.flatmap(
        lambda names: st.tuples(
            st.just(names), st.lists(st.lists(cells, min_size=len(names), max_size=len(names)), max_size=8)
        )
    )


@FILES
@given(tables(TEXT), st.sampled_from([".csv", ".tsv"]), st.sampled_from(["\r\n", "\n"]), st.booleans(), st.booleans())
def test_csv_as_pythons_writer_writes_it(
    tmp_path: Path, table: tuple[list[str], list[list[str]]], ending: str, line_end: str, mark: bool, packed: bool
) -> None:
    names, rows = table
    text = io.StringIO()
    delimiter = "," if ending == ".csv" else "\t"
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    content = text.getvalue().encode("utf-8-sig" if mark else "utf-8")
    path = tmp_path / f"x{ending}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert columns_of(str(path)) == names
    assert list(rows_of(str(path), names[::-1])) == [[cell or None for cell in row[::-1]] for row in rows]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT, st.lists, max_leaves=4
)


@FILES
@given(tables(JSON))
def test_json_lines_as_pythons_writer_writes_them(tmp_path: Path, table: tuple[list[str], list[list[Any]]]) -> None:
    names, rows = table
    path = tmp_path / "x.jsonl"
    path.write_text("\n\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows), "utf-8")
    assert columns_of(str(path)) == (names if rows else [])
    assert list(rows_of(str(path), names)) == [plain(row) for row in rows]


@FILES
@given(st.lists(st.tuples(st.none() | TEXT, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=40))
def test_parquet_as_arrow_writes_it(tmp_path: Path, rows: list[tuple[str | None, int | None]]) -> None:
    columns = {"path": [row[0] for row in rows], "n": [row[1] for row in rows]}
    schema = pyarrow.schema([("path", pyarrow.string()), ("n", pyarrow.int64())])
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns, schema), path, row_group_size=7)
    assert columns_of(str(path)) == ["path", "n"]
    assert list(rows_of(str(path), ["n", "path", "n"])) == [[n, text or None, n] for text, n in rows]
    (tmp_path / "y.parquet.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert list(rows_of(str(tmp_path / "y.parquet.gz"), ["n"])) == [[n] for _, n in rows]


def test_lines_of_text(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes("﻿a.jpg\r\n\n b c.jpg\n   \n#1.jpg\nd\x0be\u2028.jpg\n".encode() + b"\xff.jpg")
    assert columns_of(str(path)) == ["path"]
    expected = ["a.jpg", " b c.jpg", "#1.jpg", "d\x0be\u2028.jpg", "\udcff.jpg"]
    assert list(rows_of(str(path), ["path"])) == [[line] for line in expected]


def test_values_become_plain_json() -> None:
    values = [np.int64(3), np.float32(0.5), np.float64("nan"), math.inf, np.array([1, 2]), b"x", pyarrow.scalar("a")]
    values += [datetime.date(2026, 1, 2), {"k": np.bool_(True)}, (1, None), ""]
    found = plain(values)
    assert found == [3, 0.5, None, "inf", [1, 2], "x", "a", "2026-01-02", {"k": True}, [1, None], None]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_endings_are_told() -> None:
    names = ["a.CSV", "b.jsonl.gz", "https://x/c.parquet?version=3", "d.txt", "e.tar", "f.gz", "https://x/d.tar?f=.csv"]
    assert [ending_of(name) for name in names] == [".csv", ".jsonl", ".parquet", ".txt", None, None, None]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"a,b\n1,2,3\n", r"line 2 has 3 fields and the first one 2"),
        ("x.csv", b'a,b\n1,"2\n3,4\n', r"line 3: unexpected end of data"),
        ("x.jsonl", b'{"a": 1}\n[1]\n', r"line 2 is no JSON object"),
        ("x.jsonl", b'{"a": 1}\n{"a": \n', r"line 2 is no JSON object"),
        ("x.parquet", b"no parquet at all", r"cannot be read \(Parquet magic bytes not found"),
        ("x.parquet", b"", r"cannot be read"),
        ("x.csv.gz", gzip.compress(b"a,b\n" * 9)[:-9], r"cannot be read \(Compressed file ended"),
        ("x.txt", gzip.compress(b"a,b\n")[:-8] + bytes(8), r"cannot be read \(CRC check failed"),
    ],
)
def test_what_is_damaged_is_a_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(rows_of(str(path), columns_of(str(path))))
    with pytest.raises(SourceError, match=r"none\.csv: cannot be read \(No such file or directory\)"):
        columns_of(str(tmp_path / "none.csv"))
