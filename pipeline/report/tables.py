"""Tables that scroll inside their own box on a narrow page."""

from __future__ import annotations

from collections.abc import Sequence

from data_shards.markup import Html, tag


def row(name: str, cells: Sequence[object], *, wide: bool = False) -> Html:
    """A row with its name; in a wide table the last cell is a remark."""
    kinds = ["number"] * (len(cells) - wide) + ["remark"] * wide
    return tag("tr", tag("th", name, scope="row"), *(tag("td", c, class_=k) for c, k in zip(cells, kinds, strict=True)))


def table(heads: Sequence[str], rows: Sequence[Html], *, wide: bool = False, kind: str | None = None) -> Html:
    """A table with its heads; every column but the first holds numbers, and the last of a wide one remarks."""
    kinds = [None] + ["number"] * (len(heads) - 1 - wide) + ["remark"] * wide
    columns = [tag("th", name, scope="col", class_=kind) for name, kind in zip(heads, kinds, strict=True)]
    body = tag("table", tag("thead", tag("tr", *columns)), tag("tbody", *rows), class_="wide" if wide else kind)
    return tag("div", body, class_="scroll", tabindex=0, role="region", aria_label=heads[0])
