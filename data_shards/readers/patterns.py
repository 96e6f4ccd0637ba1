"""Many files in one word: braces, stars, and `::` between several.

    train-{000000..000012}.tar    x-{a,b}.csv    s3://bucket/part-*.parquet    a.tar::b.tar

Braces are expanded as WebDataset does it, in their order and whether the files exist or not; stars match what is
there, sorted. A path that exists is taken as it is, whatever characters it has.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

from braceexpand import braceexpand

from data_shards import remote
from data_shards.errors import SourceError

PIPE = "pipe:"
"""How a command begins whose output is the file, in WebDataset's notation."""
_SPLIT = re.compile(r"(?:^|[^a-z])(train|test|val|valid|validation)(?:[^a-z]|$)")


def expand(text: str, what: str) -> list[str]:
    """The paths and URLs that a word stands for. Raises `SourceError` where a local one is missing.

    `what` is the name of such a file in the message.
    """
    found = [path for pattern in _patterns(text) for path in _matching(pattern)]
    missing = [path for path in found if is_local(path) and not os.path.isfile(path)]
    if missing or not found:
        where = missing[0] if missing else text
        raise SourceError(where, f"there is no such {what}", f"give the path of an existing {what}")
    return found


def absolute(text: str) -> str:
    """The same word, with its local paths from the root: it then means the same to every process."""
    parts = [text] if os.path.exists(os.path.expanduser(text)) else text.split("::")
    return "::".join(os.path.abspath(os.path.expanduser(part)) if is_local(part) else part for part in parts)


def is_local(path: str) -> bool:
    """Whether this is a path, and neither a URL nor a command (`pipe:…`)."""
    return not remote.is_url(path) and not path.startswith(PIPE)


def names_of(paths: list[str]) -> list[str]:
    """A short name for each path, another for each: its last parts, as many as it takes."""
    parts = [path.split("/") for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(set(paths)):
            return names
    return paths


def splits_of(paths: list[str]) -> list[str | None]:
    """The split of each file by a word in its name or by its folder; None for a `val` where there is a `test`."""
    named = [_split_of(path) for path in paths]
    return ["test" if name == "val" and "test" not in named else None if name == "val" else name for name in named]


def _split_of(path: str) -> str:
    folder, _, name = path.lower().rpartition("/")
    found = _SPLIT.search(name) or _SPLIT.fullmatch(folder.rpartition("/")[2])
    if found is None:
        return "train"
    return "val" if found[1].startswith("val") else found[1]


def _patterns(text: str) -> Iterator[str]:
    if os.path.exists(os.path.expanduser(text)):
        yield text
        return
    try:
        for word in text.split("::"):
            yield from braceexpand(word)
    except ValueError:
        raise SourceError(text, "its braces do not match", "close each { with a }") from None


def _matching(pattern: str) -> list[str]:
    if not is_local(pattern):
        try:
            return remote.matching(pattern) if "*" in pattern and remote.is_url(pattern) else [pattern]
        except OSError as error:
            raise SourceError(pattern, f"cannot be listed ({error.strerror})", "make it readable") from None
    pattern = os.path.expanduser(pattern)
    return sorted(glob.glob(pattern)) if set(pattern) & set("*?") and not os.path.exists(pattern) else [pattern]
