"""The fields of a config class: which dataclasses it is made of, and every key with its type, default and help.

The help of a field is the string below it in the source; pydantic collects it into the JSON Schema that editors and
`STAGE --help` are made from.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ConfigDict, TypeAdapter

from pipeline.config.recipe import Tree, dump


@functools.cache
def adapter(cls: type) -> TypeAdapter[Any]:
    """The validator of a config class; makes every dataclass in it refuse unknown keys and carry its help."""
    for owned in dataclasses_below(cls):
        setattr(owned, "__pydantic_config__", ConfigDict(extra="forbid", use_attribute_docstrings=True))  # noqa: B010
        _hand_down_help(owned)
    return TypeAdapter(cls)


def _hand_down_help(cls: type) -> None:
    """pydantic reads the strings below the fields of a class itself; those of classes above come from here."""
    for above in filter(dataclasses.is_dataclass, cls.__mro__[1:]):
        known = adapter(above).json_schema()["properties"]
        for field in dataclasses.fields(above):
            description = known[field.name].get("description", "")
            field.metadata = MappingProxyType({**field.metadata, "description": description})


def dataclasses_in(annotation: Any) -> Iterator[type]:
    """The dataclasses that a type annotation names, through unions, tuples and Annotated."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
    for part in typing.get_args(annotation):
        if not isinstance(part, (str, int, float)):
            yield from dataclasses_in(part)


def hints(cls: type) -> dict[str, Any]:
    """Field name to annotation."""
    resolved = typing.get_type_hints(cls, include_extras=True)
    return {field.name: resolved[field.name] for field in dataclasses.fields(cls)}


def dataclasses_below(cls: type) -> set[type]:
    found: set[type] = set()
    todo = list(dataclasses_in(cls))
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            todo += [owned for annotation in hints(current).values() for owned in dataclasses_in(annotation)]
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One line of a config's help. `variant` names the variant it belongs to, where its parent is a choice."""

    key: str
    type: str
    default: str
    help: str
    variant: str = ""


def name_variants(cls: type, tree: Tree) -> None:
    """Write the default variant's name into mappings that set its keys without naming it."""
    for field in dataclasses.fields(cls):
        value = tree.get(field.name)
        if not isinstance(value, dict):
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        variants = list(dataclasses_in(hints(cls)[field.name]))
        if "name" not in value and hasattr(default, "name"):
            value["name"] = default.name
        for variant in variants:
            if getattr(variant, "name", None) == value.get("name") or len(variants) == 1:
                name_variants(variant, value)


def describe(cls: type) -> Iterator[Field]:
    """Every field of a config in order, dotted, with type, default and help text, as the JSON Schema has them."""
    root = _json_schema(cls)
    yield from _describe(root, root, "", "")


def schema(cls: type) -> dict[str, Any]:
    """JSON Schema of a recipe, with `base:` allowed, for editors that complete YAML."""
    result = _json_schema(cls)
    result.setdefault("properties", {})["base"] = {
        "description": "Recipes merged below this one, relative to it.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    result.pop("required", None)
    return result


def _json_schema(cls: type) -> Tree:
    """pydantic's schema; fields of a class above come after its own."""
    result = adapter(cls).json_schema()
    for above in filter(dataclasses.is_dataclass, cls.__mro__[1:]):
        for field in dataclasses.fields(above):
            result["properties"][field.name] = result["properties"].pop(field.name)
    return result


def _describe(root: Tree, node: Tree, prefix: str, variant: str) -> Iterator[Field]:
    node = _resolve(root, node)
    for name, field in node.get("properties", {}).items():
        default = "required" if name in node.get("required", []) else ""
        if "default" in field and not isinstance(field["default"], dict):
            default = parse_default(field["default"])
        yield Field(
            f"{prefix}{name}", _type_of(root, field), default, " ".join(field.get("description", "").split()), variant
        )
        for target in _options(root, field):
            if target.get("type") == "array" and isinstance(target.get("items"), dict):
                yield from _describe(root, target["items"], f"{prefix}{name}[].", variant)
            elif "properties" in target:
                tag = target["properties"].get("name", {}).get("const", "")
                yield from _describe(root, target, f"{prefix}{name}.", str(tag))


def _options(root: Tree, node: Tree) -> Iterator[Tree]:
    """What a field may be, through unions of unions."""
    node = _resolve(root, node)
    for option in node.get("oneOf") or node.get("anyOf") or []:
        yield from _options(root, option)
    if "oneOf" not in node and "anyOf" not in node:
        yield node


def parse_default(value: Any) -> str:
    """A default as it would be written in YAML."""
    return (
        dump(value).removesuffix("...\n").strip()
        if not isinstance(value, (list, tuple))
        else yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    )


def _resolve(root: Tree, node: Tree) -> Tree:
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def _type_of(root: Tree, node: Tree) -> str:
    node = _resolve(root, node)
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return " | ".join(str(value) for value in node["enum"])
    if "anyOf" in node or "oneOf" in node:
        options = list(_options(root, node))
        names = [str(o.get("properties", {}).get("name", {}).get("const") or _type_of(root, o)) for o in options]
        return " | ".join(dict.fromkeys(names))
    if node.get("type") == "array":
        return f"list of {_type_of(root, node['items'])}" if isinstance(node.get("items"), dict) else "list"
    return {
        "integer": "int",
        "number": "float",
        "boolean": "bool",
        "string": "text",
        "null": "null",
        "object": "mapping",
    }.get(str(node.get("type")), "value")
