"""Rows of a text, CSV, TSV, JSON lines or Parquet file, local or at a URL, packed by gzip or not, as a stream.

    .txt                a column named path: a line each
    .csv .tsv           the first line names the columns
    .jsonl .ndjson      an object each line; its keys are the columns
    .parquet            read in batches of a few thousand rows, only the columns that are asked for

Text is UTF-8, with or without a byte-order mark; bytes that are no UTF-8 pass through, as names of files may have
them. A value that is missing, empty or not a number is None.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import math
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from data_shards import remote
from data_shards.errors import SourceError

ENDINGS = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
LINES_COLUMN = "path"
_BATCH = 4096  # rows of a Parquet file in memory
_HEAD = 100  # objects of a file of JSON lines whose keys are its columns
_DELIMITER = {".csv": ",", ".tsv": "\t"}


def ending_of(path: str) -> str | None:
    """The kind of table by the end of its name, None for another file."""
    name = path.lower().partition("?")[0] if remote.is_url(path) else path.lower()
    return next((ending for ending in ENDINGS if name.removesuffix(".gz").endswith(ending)), None)


def columns_of(path: str) -> list[str]:
    """The names of the columns. Raises `SourceError`."""
    with _opened(path) as file:
        ending = ending_of(path)
        if ending == ".parquet":
            with _parquet(file) as table:
                return list(table.schema_arrow.names)
        with _text(file, ending) as text:
            if ending == ".txt":
                return [LINES_COLUMN]
            if ending in _DELIMITER:
                return next(_delimited(text, _DELIMITER[ending]), (0, []))[1]
            head = itertools.islice(_objects(text), _HEAD)
            return list(dict.fromkeys(key for item in head for key in item))


def rows_of(path: str, columns: Sequence[str]) -> Iterator[list[Any]]:
    """The values of these columns, row by row, as plain JSON values. Raises `SourceError`."""
    with _opened(path) as file:
        ending = ending_of(path)
        if ending == ".parquet":
            with _parquet(file) as table:
                for batch in table.iter_batches(_BATCH, columns=list(dict.fromkeys(columns)), use_threads=False):
                    values = {name: batch.column(name).to_pylist() for name in set(columns)}
                    for row in zip(*(values[name] for name in columns), strict=True):
                        yield [plain(value) for value in row]
            return
        with _text(file, ending) as text:
            if ending == ".txt":
                for _, line in _lines(text):
                    yield [line] * len(columns)
            elif ending in _DELIMITER:
                lines = _delimited(text, _DELIMITER[ending])
                header = next(lines, (0, []))[1]
                places = [header.index(name) for name in columns]
                for number, fields in lines:
                    if len(fields) > len(header):
                        raise ValueError(f"line {number} has {len(fields)} fields and the first one {len(header)}")
                    yield [(fields[place] or None) if place < len(fields) else None for place in places]
            else:
                for item in _objects(text):
                    yield [plain(item.get(name)) for name in columns]


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers of numpy and arrow, dates and bytes become numbers and text, NaN None."""
    if value is None or isinstance(value, bool | int | str):
        return None if value == "" else value
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    for method in ("tolist", "as_py", "isoformat"):  # numpy's scalars and arrays, arrow's scalars, dates
        if hasattr(value, method):
            return plain(getattr(value, method)())
    return str(value)


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a table, unpacked. What goes wrong with them becomes a `SourceError`."""
    try:
        with remote.open_stream(path) if remote.is_url(path) else open(path, "rb") as stream:
            if stream.peek(2)[:2] != b"\x1f\x8b":
                yield stream
                return
            with gzip.open(stream) as unpacked:
                yield unpacked  # type: ignore[misc]  # a GzipFile is one
    except SourceError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:  # arrow's errors are OSError or ValueError
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]
        raise SourceError(path, f"cannot be read ({what})", "check the list, or make it anew") from None


@contextmanager
def _text(file: IO[bytes], ending: str | None) -> Iterator[io.TextIOWrapper]:
    newline = "" if ending in _DELIMITER else "\n"  # the csv module wants to see line ends, which may be in a field
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline)
    try:
        yield text
    finally:
        text.detach()


def _lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not blank."""
    for number, line in enumerate(text, 1):
        if line.strip():
            yield number, line.rstrip("\r\n")


def _objects(text: io.TextIOWrapper) -> Iterator[dict[str, Any]]:
    for number, line in _lines(text):
        item = None
        with suppress(ValueError):
            item = json.loads(line)
        if not isinstance(item, dict):
            raise ValueError(f"line {number} is no JSON object")
        yield item


def _delimited(text: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line and fields of each row."""
    table = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        for row in table:
            if row:
                yield table.line_num, row
    except csv.Error as error:
        raise ValueError(f"line {table.line_num}: {error}") from None


@contextmanager
def _parquet(file: IO[bytes]) -> Iterator[Any]:
    """A Parquet file; where its bytes cannot be sought in, of a copy on the disk."""
    import pyarrow.parquet  # 200 ms

    with ExitStack() as stack:
        if isinstance(file, io.BufferedReader) and file.seekable():
            seekable: IO[bytes] = file
        else:
            seekable = stack.enter_context(tempfile.TemporaryFile(prefix="parquet-"))
            shutil.copyfileobj(file, seekable, 1 << 20)
        yield stack.enter_context(pyarrow.parquet.ParquetFile(seekable, pre_buffer=False))
