"""HTML and SVG elements that escape what they are given.

`Html` is text that is markup already; any other text becomes harmless on its way in. So nothing that a file says, a
class name or a path, can turn into markup, and no caller has to remember it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"br", "hr", "img", "link", "meta"})


class Html(str):
    """Markup."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: str | float | bool | None) -> Html:
    """An element.

    Children are markup or text; None is left out. Attributes are written as given, except that `_` becomes `-` and a
    last `_` is dropped (`class_`); True writes the bare name; None and False write nothing.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            written = key.rstrip("_").replace("_", "-")
            parts.append(written if value is True else f'{written}="{html.escape(str(value))}"')
    opening = f"<{' '.join(parts)}>"
    return Html(opening) if name in _VOID else Html(f"{opening}{join(children)}</{name}>")


def join(children: Iterable[object], between: str = "") -> Html:
    """Markup and text, one after the other."""
    return Html(between.join(_escaped(child) for child in children if child is not None))


def _escaped(child: object) -> str:
    return child if isinstance(child, Html) else html.escape(str(child), quote=False)
