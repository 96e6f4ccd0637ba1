"""The page holds what the set holds, and nothing in it can do more than be shown."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from data_shards.__main__ import main
from data_shards.inspect.document import page
from tests.data_shards.pictures import Listed, broken_jpeg, contents, encode, jpeg, listed, mixed, pixels
from tests.data_shards.shard_sets import pack_whole

EVIL = "</title><script>alert(1)</script><img src=http://x onerror='a()'>\"&\n"
VOID = {"br", "img", "link", "meta"}


class Page(HTMLParser):
    """Elements with their attributes, and the text; fails where an element is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_accounts_the_labels_and_the_shards_are_on_the_page(tmp_path: Path) -> None:
    manifest = pack_whole(tmp_path, mixed(), samples_per_shard=5)
    manifest = replace(
        manifest, traits={"progressive": 3}, lineage=[{"root": "ab", "done": "repair --drop", "lost": 1}]
    )
    manifest.save(tmp_path)
    found = Page(page(tmp_path))
    words = found.text.replace(",", "")
    for said in ("listed40", "accepted28", "quarantined8", "duplicates4", "truncated4", "exact4", "progressive3"):
        assert said in words.replace("70%", "").replace("20%", "")
    for shard in manifest.shards:
        assert shard.name in found.text
        assert shard.hash[:16] in found.text
    assert manifest.root in found.text
    assert "repair --drop" in found.text
    assert {f"h{n}-title" for n in range(5)} >= {
        str(title.get("id")) for title in found.all("title") if title.get("id")
    }


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    rows = [(EVIL + str(n), "train", EVIL + str(n % 2), jpeg(n)) for n in range(4)]
    rows += [
        (EVIL + "bad", "train", EVIL, broken_jpeg(9)),
        (EVIL + "none", "train", EVIL, b"<script>alert(2)</script>"),
    ]
    manifest = pack_whole(tmp_path, Listed(rows))
    replace(
        manifest,
        source={"name": EVIL, "path": [EVIL] * 50},
        settings={EVIL: "\ud800"},
        reasons={**manifest.reasons, EVIL: 0},
        lineage=[{"done": EVIL, "root": EVIL, EVIL: [EVIL]}],
    ).save(tmp_path)
    found = Page(page(tmp_path))
    assert found.all("script") == []
    assert all(str(image["src"]).startswith("data:image/") for image in found.all("img"))
    assert all(not name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert not [
        href for _, attributes in found.elements for href in (attributes.get("href"),) if href not in (None, "data:,")
    ]
    assert EVIL.strip() in found.text
    policy = next(meta["content"] for meta in found.all("meta") if "http-equiv" in meta)
    assert str(policy).startswith("default-src 'none'")


def test_nothing_on_the_page_is_fetched(tmp_path: Path) -> None:
    pack_whole(tmp_path, listed(3))
    text = page(tmp_path)
    assert not re.search(r"https?:|@import|url\(", text)


def test_its_pictures_are_those_of_every_split(tmp_path: Path) -> None:
    pack_whole(tmp_path, listed(30, test=10))
    found = Page(page(tmp_path))
    pictures = found.all("img")
    assert len(pictures) == 18 + 10
    for picture in pictures:
        data = base64.b64decode(str(picture["src"]).partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (10, 12)
        assert picture["class"] == "pixels"


@pytest.mark.parametrize(
    "reader",
    [
        Listed([("a", "train", None, jpeg(1))]),
        Listed([("a", "train", None, encode(pixels(1, 1, 2000), "PNG")), ("b", "test", "x", jpeg(2))]),
        Listed([(str(n), "train", f"class {n}", jpeg(n)) for n in range(200)]),
    ],
)
def test_any_set_has_a_page(reader: Listed, tmp_path: Path) -> None:
    pack_whole(tmp_path, reader)
    found = Page(page(tmp_path))
    labels = {label for _, _, label, _ in reader.images if label}
    assert all(label in found.text for label in labels)


def test_shards_that_cannot_be_read_are_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    pack_whole(tmp_path, mixed(), samples_per_shard=10)
    (tmp_path / "train-000000.tar").unlink()
    (tmp_path / "quarantine/ledger.jsonl").write_text("{}\n")
    found = Page(page(tmp_path))
    assert "1 shard of train cannot be read, train-000000.tar first." in found.text
    assert "line 1 is damaged" in found.text
    assert len(found.all("img")) == 11 + 7


def test_it_is_written_only_where_it_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack_whole(tmp_path / "set", mixed())
    before = contents(tmp_path / "set")
    assert main(["inspect", str(tmp_path / "set"), "--html", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert (tmp_path / "page.html").read_text() == page(tmp_path / "set")
    assert contents(tmp_path / "set") == before
    assert main(["inspect", str(tmp_path / "set"), "--html", str(tmp_path / "nowhere/page.html")]) == 2
    assert "page.html: cannot be written" in capsys.readouterr().err
