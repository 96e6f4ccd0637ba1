"""Recipes in, typed configs out; every mistake at once.

A component owns its config: a frozen, keyword-only stdlib dataclass whose fields carry their help as the string below
them. `load` turns a recipe and its overrides into one:

    recipe.py     YAML, bases, overrides: plain mappings
    fields.py     the keys of a config class, their help, JSON Schema
    mistakes.py   what pydantic finds, one sentence each
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import ValidationError

from pipeline.config.fields import Field, adapter, describe, name_variants, schema
from pipeline.config.mistakes import COMMAND_LINE, sentence
from pipeline.config.recipe import Tree, dump, merge, parse, put, read
from pipeline.errors import ConfigError

__all__ = ["Field", "build", "describe", "dump", "identity", "load", "parse", "read", "schema", "to_mapping"]

T = TypeVar("T")


def load(
    cls: type[T], recipe: str | Path | None, overrides: Sequence[str] = (), given: Mapping[str, Any] | None = None
) -> T:
    """The config that `recipe` and `overrides` describe.

    `given` are dotted keys that the caller sets below the recipe, such as the output directory a chain hands a stage.
    Raises `ConfigError` with every mistake found.
    """
    origins: dict[str, str] = {}
    tree: Tree = {}
    mistakes: list[str] = []
    for key, value in (given or {}).items():
        put(tree, key, value)
    if recipe is not None:
        path = Path(recipe)
        tree = merge(tree, read(path))
        origins[""] = str(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            mistakes.append(
                f"{COMMAND_LINE}: {override!r} is not an override; write key=value, for example out=runs/mine"
            )
            continue
        try:
            value = parse(text)
        except yaml.YAMLError:
            mistakes.append(f"{COMMAND_LINE}: {key}: {text!r} cannot be read as a YAML value; put it in quotes")
            continue
        blocked = put(tree, key, value)
        origins[key] = COMMAND_LINE
        if blocked:
            mistakes.append(f"{COMMAND_LINE}: {key}: {blocked} is a single value and has no keys below it")
    name_variants(cls, tree)
    try:
        config = build(cls, tree)
    except ValidationError as error:
        mistakes += [sentence(cls, tree, origins, detail) for detail in error.errors()]
        config = None
    if mistakes or config is None:
        raise ConfigError(mistakes)
    return config


def build(cls: type[T], tree: Mapping[str, Any]) -> T:
    """A config from a plain mapping, such as the one `to_mapping` made. Raises pydantic's ValidationError."""
    return cast(T, adapter(cast(type, cls)).validate_python(dict(tree)))


def to_mapping(config: Any) -> Any:
    """The config as plain mappings, lists and scalars: what is written into the run directory."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_mapping(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_mapping(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_mapping(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def identity(config: Any) -> Any:
    """`to_mapping` without what cannot change the result: fields made with `field(metadata={"identity": False})`."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {
            field.name: identity(getattr(config, field.name))
            for field in dataclasses.fields(config)
            if field.metadata.get("identity", True)
        }
    if isinstance(config, (list, tuple)):
        return [identity(value) for value in config]
    return to_mapping(config)
