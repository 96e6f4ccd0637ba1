"""A real browser shows the page: nothing wider than the window, every picture decoded, text large enough to read."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.report import write
from tests.pipeline.report.made import chain

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)
FRAME = """<!doctype html>
<body style="margin: 0"><iframe width="{width}" height="900" style="border: 0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const {{ contentWindow: view, contentDocument: page }} = document.querySelector("iframe");
  const all = query => [...page.querySelectorAll(query)];
  const wide = element =>
    !element.closest(".scroll, pre, details") && element.getBoundingClientRect().right > view.innerWidth + 1;
  document.body.dataset.measured = JSON.stringify({{
    window: view.innerWidth,
    page: page.scrollingElement.scrollWidth,
    wide: all("main *").filter(wide).map(element => element.outerHTML.slice(0, 80)),
    pictures: [...page.images].map(image => image.complete && image.naturalWidth),
    text: Math.min(...all(".chart text").map(text => text.getBoundingClientRect().height)),
    background: view.getComputedStyle(page.body).backgroundColor,
  }});
}});
</script>
"""
"""The page as it is in a frame, which may be as narrow as a phone; a window may not."""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)"),
    pytest.mark.slow,
]


def measure(page: str, folder: Path, width: int, *flags: str) -> dict[str, Any]:
    """What a view of `width` px makes of the page."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "--dump-dom", frame.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'data-measured="([^"]*)"', dumped)
    assert found, "the page did not load"
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("demo")
    runs = chain(folder)
    (folder / "finetune-unfinished-with-a-name-that-is-long-and-has-no-place-to-break").mkdir()
    return write([*runs, *folder.glob("finetune-unfinished*")], folder).read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_shows_every_picture(page: str, tmp_path: Path, width: int) -> None:
    measured = measure(page, tmp_path, width)
    assert measured["window"] == width
    assert measured["page"] <= width, measured["wide"]
    assert measured["wide"] == []
    assert measured["pictures"] == [140, 528]
    assert measured["text"] >= 10


def test_a_reader_with_a_dark_desktop_gets_a_dark_page(page: str, tmp_path: Path) -> None:
    def brightness(*flags: str) -> int:
        colour = measure(page, tmp_path, 800, *flags)["background"]
        return sum(map(int, re.findall(r"\d+", colour)[:3])) // 3

    assert brightness() > 240
    assert brightness("--blink-settings=preferredColorScheme=0") < 40
