"""Where the time went: a bar for each start, whose widths are its seconds."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline import goodput
from pipeline.goodput import PARTS, Account
from pipeline.report import write
from pipeline.report.read import read
from pipeline.report.spent import SHOWN, WIDTH, spent
from tests.pipeline.report.made import finished, pretrained


def training(folder: Path) -> Path:
    path = pretrained(folder / "pretrain", finished(folder / "shard", "shard", "shards"))
    first = {"queue": 20.0, "start_up": 10.0, "elapsed": 70.0, "data_wait": 5.0, "checkpoint": 5.0}
    goodput.append(path, Account(start=1, begin=0, step=100, **first))  # type: ignore[arg-type]
    goodput.append(path, Account(start=2, begin=80, step=900, elapsed=50.0, end="done"))
    return path


def test_a_bar_s_widths_are_the_seconds_of_its_parts(tmp_path: Path) -> None:
    page = spent([read(training(tmp_path))])
    assert page is not None
    bars = re.findall(r"<svg.*?</svg>", page)
    widths = [[float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', bar)] for bar in bars]
    seconds = [[20, 10, 48, 5, 5, 12], [50]]  # a fifth of 60 was done again
    assert widths == [[round(WIDTH * value / 100, 1) for value in row] for row in seconds]
    assert "lost work: 12" in bars[0]
    text = re.sub(r"<title>.*?</title>|<[^>]+>", " ", page)
    assert re.search(r"start 1\s+0 → 100\s+1.min 40.s\s+48.0.%\s+killed\s+start 2", text), text
    assert re.search(r"all\s+2.min 30.s\s+65.3.%", text), text


def test_runs_without_accounts_have_no_section(tmp_path: Path) -> None:
    run = read(pretrained(tmp_path / "pretrain", finished(tmp_path / "shard", "shard", "shards")))
    assert spent([run]) is None


def test_of_very_many_starts_the_last_are_shown(tmp_path: Path) -> None:
    path = training(tmp_path)
    for start in range(3, 200):
        goodput.append(path, Account(start=start, begin=start, step=start + 1, elapsed=1.0))
    page = spent([read(path)])
    assert page is not None
    assert page.count("<svg") == SHOWN
    assert "start 199" in page


def test_every_part_has_its_words_and_the_page_its_section(tmp_path: Path) -> None:
    path = training(tmp_path)
    parts = {part: 1.0 for part in PARTS if part not in ("compute", "lost")}
    goodput.append(path, Account(start=3, begin=850, step=901, elapsed=9.0, **parts))  # type: ignore[arg-type]
    page = write([path], tmp_path / "report").read_text()
    assert "Where the time went" in page
    assert all(words in page for words in PARTS.values())
