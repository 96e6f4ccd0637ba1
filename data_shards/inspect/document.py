"""A shard set as one HTML page: what it holds, what its images are like, some of them, and where they came from.

The page is a single file: pictures and style are in it, nothing is fetched and nothing runs. What comes from outside,
names above all, is escaped by `markup.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from data_shards.durable import write_durably
from data_shards.errors import OutputError, ShardError
from data_shards.inspect.figures import FOLDED, accounts, counted, images, labels, listed
from data_shards.inspect.gallery import rejects, samples
from data_shards.inspect.look import SplitLook, look
from data_shards.inspect.text import amount
from data_shards.manifest import Manifest
from data_shards.markup import Html, join, tag

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may do for this page: show it."""


def write_page(directory: Path, path: Path) -> None:
    """Write the page of a shard set. Raises `ShardError` and, where the file cannot be written, `OutputError`."""
    text = page(directory)
    try:
        write_durably(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(str(path), f"cannot be written ({error.strerror})", "give a file you may write") from None


def page(directory: Path) -> str:
    """The whole document."""
    manifest = Manifest.load(directory)
    splits = [look(directory, manifest, split) for split in manifest.splits]
    title = Path(directory).resolve().name or str(directory)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{title} · shards"),
        tag("style", Html(files("data_shards.inspect").joinpath("style.css").read_text(encoding="utf-8"))),
    )
    body = tag("body", tag("main", *_sections(directory, manifest, splits, title)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sections(directory: Path, manifest: Manifest, splits: list[SplitLook], title: str) -> list[Html | None]:
    return [
        _header(directory, manifest, splits, title),
        _section("Accounts", accounts(manifest)),
        _section("Images", images(splits)),
        _section("Labels", _labels(manifest, splits)),
        _section("Samples", samples(directory, splits)),
        _section("Quarantine", _quarantine(directory, manifest)),
        _section("Where it comes from", _lineage(manifest)),
        _section("Shards", _shards(manifest)),
        tag("footer", tag("p", "Written by ", tag("code", "python -m data_shards inspect"), ". Nothing is fetched.")),
    ]


def _section(title: str, content: Html | None) -> Html | None:
    return tag("section", tag("h2", title), content) if content else None


def _header(directory: Path, manifest: Manifest, splits: list[SplitLook], title: str) -> Html:
    size = amount(sum(shard.bytes for shard in manifest.shards))
    accepted = sum(found.samples for found in splits)
    each = [f"{found.samples:,} {found.split}" for found in splits] if len(splits) > 1 else []
    lead = f"{accepted:,} images in {counted(len(manifest.shards), 'shard')}, {size}."
    if each:
        lead += f" {listed(each)}."
    notices = []
    for found in splits:
        if found.unread:
            unread = f"{counted(len(found.unread), 'shard')} of {found.split} cannot be read, {found.unread[0]} first."
            command = tag("code", f"python -m data_shards verify {directory}")
            notices.append(tag("p", tag("strong", unread), " Next: ", command, class_="notice"))
    return tag("header", tag("h1", title), tag("p", lead, class_="lead"), *notices)


def _labels(manifest: Manifest, splits: list[SplitLook]) -> Html | None:
    tables = [labels(found, len(splits) > 1) for found in splits if found.labels]
    return tag("div", *tables, class_="columns wide") if manifest.classes and tables else None


def _quarantine(directory: Path, manifest: Manifest) -> Html | None:
    if not manifest.totals.get("quarantined"):
        return None
    try:
        pictures = rejects(directory, manifest)
    except ShardError as error:
        pictures = tag("p", str(error), class_="notice")
    command = f"python -m data_shards quarantine {directory}"
    return join([pictures, tag("p", "Every one with its reason: ", tag("code", command), class_="soft next")])


def _lineage(manifest: Manifest) -> Html:
    steps = [tag("div", tag("dt", "root"), tag("dd", tag("code", manifest.root)))]
    for entry in reversed(manifest.lineage):
        rest = {name: value for name, value in entry.items() if name not in ("root", "done")}
        said = [tag("code", str(entry.get("done"))), " of ", tag("code", str(entry.get("root"))), tag("br")]
        steps.append(tag("div", tag("dt", "made by"), tag("dd", *said, tag("span", _short(rest), class_="soft"))))
    folded = [
        tag("details", tag("summary", name), tag("pre", tag("code", json.dumps(value, indent=2, ensure_ascii=False))))
        for name, value in (("source", _bounded(manifest.source)), ("settings", _bounded(manifest.settings)))
    ]
    return join([tag("dl", *steps, class_="lineage"), *folded])


def _shards(manifest: Manifest) -> Html:
    heads = tag("tr", *(tag("th", name, scope="col") for name in ("shard", "samples", "size", "first", "sha256")))
    rows = [
        tag(
            "tr",
            tag("th", shard.name, scope="row"),
            *(tag("td", text) for text in (f"{shard.samples:,}", amount(shard.bytes), f"{shard.first_index:,}")),
            tag("td", tag("code", shard.hash[:16])),
        )
        for shard in manifest.shards[:FOLDED]
    ]
    more = len(manifest.shards) - len(rows)
    table = tag("div", tag("table", tag("thead", heads), tag("tbody", *rows), class_="shards"), class_="scroll")
    beyond = tag("p", f"and {more:,} more in manifest.json", class_="soft") if more else None
    return tag("details", tag("summary", counted(len(manifest.shards), "shard")), table, beyond)


def _short(value: Any) -> str:
    text = ", ".join(
        f"{name} {value if not isinstance(value, list) else _names(value)}" for name, value in value.items()
    )
    return text


def _names(values: Sequence[Any]) -> str:
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return " ".join(str(value) for value in values[:3]) + more


def _bounded(value: Any) -> Any:
    """A value for the page: long lists and texts are cut."""
    if isinstance(value, dict):
        return {name: _bounded(inner) for name, inner in list(value.items())[:100]}
    if isinstance(value, list) and len(value) > 20:
        return [*(_bounded(inner) for inner in value[:20]), f"… {len(value) - 20} more"]
    return f"{value[:1000]}…" if isinstance(value, str) and len(value) > 1000 else value
