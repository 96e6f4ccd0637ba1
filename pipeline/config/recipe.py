"""Recipes as plain mappings: YAML 1.2, `base:` and `dotted.key=value`.

- a recipe may name others in `base:`; mappings merge key by key, except that a mapping which names another variant
  (`name: byol` over `name: swav`) replaces the one below it, so no variant inherits another's keys;
- scalars are YAML 1.2: `1e-4` is a number and `on` is a word.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError

Tree = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core scalars: plain PyYAML reads `1e-4` as a string and `on` as true."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, rule)
        for tag, rule in rules
        if tag
        not in (
            "tag:yaml.org,2002:bool",
            "tag:yaml.org,2002:float",
            "tag:yaml.org,2002:timestamp",
            "tag:yaml.org,2002:int",
        )
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)

_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))  # 012 is 12


def parse(text: str) -> Any:
    """One YAML value."""
    return yaml.load(text, Loader=_Loader)


def dump(tree: Any) -> str:
    """YAML text of plain mappings, in the order given."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)


def read(path: Path, _seen: tuple[Path, ...] = ()) -> Tree:
    """The mapping in a recipe with its bases merged below it."""
    path = Path(path)
    if path.resolve() in _seen:
        raise ConfigError([f"{path}: base: the recipe is its own base, through {' -> '.join(p.name for p in _seen)}"])
    try:
        tree = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = difflib.get_close_matches(
            path.name, [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else [], 1
        )
        meant = f"; did you mean {path.parent / near[0]}?" if near else "; recipes live in configs/"
        raise ConfigError([f"{path}: no such recipe{meant}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError([f"{path}: cannot be read as YAML: {' '.join(str(error).split())}"]) from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError([f"{path}: holds a {type(tree).__name__}, but a recipe is a mapping of keys to values"])
    bases = tree.pop("base", [])
    below: Tree = {}
    for base in [bases] if isinstance(bases, str) else bases:
        below = merge(below, read(path.parent / base, (*_seen, path.resolve())))
    return merge(below, tree)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Tree:
    """`above` laid over `below`."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if (
            isinstance(under, dict)
            and isinstance(value, dict)
            and value.get("name", under.get("name")) == under.get("name")
        ):
            merged[key] = merge(under, value)
        else:
            merged[key] = value
    return merged


def put(tree: Tree, dotted: str, value: Any) -> str | None:
    """Set a dotted key; gives the part of the path that is no mapping, if there is one."""
    *parents, last = dotted.split(".")
    node: Any = tree
    for depth, part in enumerate(parents):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
        else:
            return ".".join(parents[:depth])
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        if isinstance(node.get(last), dict) and isinstance(value, dict):
            value = merge({last: node[last]}, {last: value})[last]
        elif last == "name" and node.get("name", value) != value:
            node.clear()
        node[last] = value
    else:
        return ".".join(parents)
    return None
