"""What a checkpoint holds beside tensors, as JSON that gives back the same Python values: no pickle is written or read.

Numbers, texts, booleans, None and lists are themselves; a tuple is {"tuple": [...]}, a mapping {"pairs": [[key, value],
...]}. Anything else is refused when it is saved.
"""

from __future__ import annotations

from typing import Any


def to_json(value: Any, name: str) -> Any:
    """Plain data for `value`. Raises `TypeError` that names what cannot be stored; `name` says where it stands."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [to_json(item, name) for item in value]
    if type(value) is tuple:
        return {"tuple": [to_json(item, name) for item in value]}
    if isinstance(value, dict):
        return {"pairs": [[to_json(key, name), to_json(item, name)] for key, item in value.items()]}
    raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint cannot hold; make it a number or a tensor")


def from_json(plain: Any) -> Any:
    """The value that `to_json` was given."""
    if isinstance(plain, list):
        return [from_json(item) for item in plain]
    if isinstance(plain, dict):
        if "tuple" in plain:
            return tuple(from_json(item) for item in plain["tuple"])
        return {from_json(key): from_json(item) for key, item in plain["pairs"]}
    return plain
