"""One file of features: a row a sample, columns `index`, `label`, `key`, and one of vectors for each tap.

    .npz        NumPy's own: `np.load(file)["average"]` is a matrix (rows, width)
    .parquet    tap columns are lists of fixed size; pandas, polars and DuckDB read them

A file is there whole or not at all. Nothing is pickled, and a column is read without the others.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_shards.durable import move_durably
from pipeline.errors import ArtifactError

Format = Literal["npz", "parquet"]
Columns = Mapping[str, NDArray[Any]]
INDEX, LABEL, KEY = "index", "label", "key"


def write(path: Path, columns: Columns) -> dict[str, Any]:
    """Write a file in the format that its name ends with. Gives its `bytes` and `sha256`."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        if path.suffix == ".npz":
            arrays: dict[str, Any] = dict(columns)
            np.savez(file, **arrays)
        else:
            _write_parquet(file, columns)
        file.flush()
        os.fsync(file.fileno())
    with temporary.open("rb") as file:
        facts = {"bytes": temporary.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    move_durably(temporary, path)
    return facts


def read(path: Path, *names: str) -> list[NDArray[Any]]:
    """Some columns of a file. Raises `ArtifactError` where it cannot be read or has no such column."""
    try:
        return _read_npz(path, names) if path.suffix == ".npz" else _read_parquet(path, names)
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            str(path), f"cannot be read ({' '.join(str(error).split())})", "remove it and run `features` again"
        ) from None


def _read_npz(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    # Given a path, NumPy leaves it open where the file is damaged.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return [file[name] for name in names]


def _write_parquet(file: Any, columns: Columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {
        name: pa.array(values)
        if values.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        for name, values in columns.items()
    }
    # Floats of features hardly compress.
    pq.write_table(pa.table(arrays), file, compression="none", use_dictionary=False)


def _read_parquet(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    import pyarrow.parquet as pq

    # One file, not a data set: a directory's name with "=" in it would become a column.
    table = pq.ParquetFile(path).read(columns=list(names))
    found: list[NDArray[Any]] = []
    for name in names:
        column = table.column(name).combine_chunks()
        if hasattr(column, "flatten") and hasattr(column.type, "list_size"):
            found.append(column.flatten().to_numpy().reshape(len(column), column.type.list_size))
        else:
            found.append(column.to_numpy(zero_copy_only=False))
    return found
