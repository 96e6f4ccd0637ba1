"""What pydantic found, said in one line a mistake: file or command line, dotted key, what is wrong, what was meant."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config.fields import dataclasses_in, describe, hints
from pipeline.config.recipe import Tree

COMMAND_LINE = "command line"


def _follow(cls: type, tree: Any, location: Sequence[str | int]) -> tuple[list[str], list[type], Any]:
    """The dotted key of a pydantic location, the dataclasses that hold its last part, and the value found there.

    Pydantic puts the variant's name, or the class, into the location; such parts are no keys and are left out.
    """
    dotted: list[str] = []
    owners, node, annotation = [cls], tree, cls
    for part in location:
        if isinstance(part, int) or (isinstance(part, str) and part.isdigit() and isinstance(node, (list, tuple))):
            dotted.append(str(part))
            node = node[int(part)] if isinstance(node, (list, tuple)) and int(part) < len(node) else None
            continue
        classes = list(dataclasses_in(annotation))
        if isinstance(node, dict) and "name" in node:
            named = [c for c in classes if getattr(c, "name", None) == node["name"]]
            classes = named or classes
        fields = {name: hint for c in classes for name, hint in hints(c).items()}
        holds = isinstance(node, dict) and part in node
        if not holds and part not in fields:
            continue
        owners = classes
        dotted.append(part)
        annotation = fields.get(part, annotation)
        node = node.get(part) if isinstance(node, dict) else None
    return dotted, owners, node


def sentence(cls: type, tree: Tree, origins: Mapping[str, str], detail: Any) -> str:
    dotted, owners, value = _follow(cls, tree, detail["loc"])
    key = ".".join(dotted)
    origin = next(
        (origins[k] for k in (".".join(dotted[:n]) for n in range(len(dotted), 0, -1)) if k in origins),
        origins.get("", COMMAND_LINE),
    )
    known = sorted({field.name for owner in owners for field in dataclasses.fields(owner)})
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "unexpected_keyword_argument":
        near = difflib.get_close_matches(dotted[-1] if dotted else "", known, 1, 0.5)
        says = f"no such key; did you mean {near[0]}?" if near else f"no such key; known here: {', '.join(known)}"
    elif kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        says = f"must be given: {_help_of(owners, dotted[-1]) if dotted else ''}".rstrip(": ")
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = re.findall(r"'([^']+)'", str(context.get("expected_tags", ""))) or _names(owners, dotted)
        given = value.get("name") if isinstance(value, dict) else value
        near = difflib.get_close_matches(str(given), tags, 1)
        says = f"name: {given!r} is unknown" if given is not None else "names no variant"
        says += f"; did you mean {near[0]}?" if near else f"; known: {', '.join(tags)}"
    elif kind in ("value_error", "assertion_error"):
        says = str(context.get("error", detail["msg"]))
    elif kind == "literal_error":
        near = difflib.get_close_matches(str(value), re.findall(r"'([^']+)'", context.get("expected", "")), 1)
        says = f"{value!r} is none of {context.get('expected')}" + (f"; did you mean {near[0]}?" if near else "")
    else:
        says = f"{detail['msg'][0].lower()}{detail['msg'][1:]}, but {_short(value)} was given"
    return f"{origin}: {key}: {says}" if key else f"{origin}: {says}"


def _names(owners: Sequence[type], dotted: Sequence[str]) -> list[str]:
    variants = [c for owner in owners for c in dataclasses_in(hints(owner).get(dotted[-1]))] if dotted else []
    return [str(getattr(variant, "name", variant.__qualname__)) for variant in variants]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _help_of(owners: Sequence[type], name: str) -> str:
    for owner in owners:
        for row in describe(owner):
            if row.key == name:
                return row.help
    return ""
