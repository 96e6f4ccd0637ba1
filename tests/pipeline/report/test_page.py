"""The page is whole, carries everything in itself, and says what the run directories say."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data_shards.markup import Html, join, tag
from pipeline.errors import RunError
from pipeline.report import write
from pipeline.report.results import removed
from pipeline.report.wording import count, duration, figure, listed, percent
from tests.pipeline.report.made import LN_K, chain, finished, picture, pretrained, write_records

VOID = {"br", "hr", "img", "link", "meta"}
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;"


class Parsed(HTMLParser):
    """Elements, attributes and text of a page; fails where elements do not close in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in <{tag}>"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == name]


def written(runs: list[Path], out: Path) -> tuple[str, Parsed]:
    page = write(runs, out).read_text(encoding="utf-8")
    return page, Parsed(page)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def check_self_contained(page: str, parsed: Parsed) -> None:
    for _, attributes in parsed.elements:
        for key in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), attributes
        assert not any(key.startswith("on") for key in attributes)
        assert "url(" not in (attributes.get("style") or "")
    assert not parsed.named("script")
    assert "@import" not in page
    assert "url(" not in page
    identifiers = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    for link in parsed.named("a"):
        assert (link["href"] or "").removeprefix("#") in identifiers


def test_a_chain_is_told_from_its_command_to_its_export(tmp_path: Path) -> None:
    runs = chain(tmp_path / "demo")
    page, parsed = written(runs, tmp_path / "demo" / "report")
    check_self_contained(page, parsed)
    text = plain(parsed.text)
    assert (
        "5,229 images packed into shards, a custom RegNet pretrained with swav for 900 steps, probed, "
        "measured by nearest neighbours, fine-tuned 2 times on labels and exported as safetensors." in text
    )
    for run in runs:
        assert f"python -m pipeline {run.name.partition('-')[0]} {run}/config.yaml" in text
    for said in ("36.2 %61.7 %40.0 %", "44.0 %72.0 %50.0 %", "4.71 → 3.12", "81.3 %", "45.5 %", "2.4 × 10⁻⁷"):
        assert said in text, said
    assert "ln K = 4.61 is what even odds give" in text
    assert "grass taken for gravel" in text
    assert "size: custom" in text
    assert "version 0.1.0" in text
    assert [e for e in parsed.named("img") if (e["src"] or "").startswith("data:image/png;base64,")]


def test_curves_are_drawn_for_what_was_recorded_and_for_measures_nobody_foresaw(tmp_path: Path) -> None:
    path = tmp_path / "pretrain"
    write_records(path, [{"step": s, "loss": 5 - s / 9, "ln_k": LN_K, "teacher_drift": s} for s in range(1, 9)])
    finished(path, "pretrain", "checkpoint")
    _, parsed = written([path], path)
    assert "ln K = 4.61, a guess" in parsed.text
    assert "Teacher drift" in parsed.text
    assert "kNN accuracy" not in parsed.text


def test_skipped_steps_have_a_chart_where_there_are_any(tmp_path: Path) -> None:
    for skipped in (0.0, 1.0):
        path = tmp_path / f"pretrain-{skipped:.0f}"
        write_records(path, [{"step": s, "loss": 1.0, "skipped": skipped if s > 4 else 0.0} for s in range(1, 9)])
        finished(path, "pretrain", "checkpoint")
        assert ("Skipped steps" in written([path], path)[1].text) == bool(skipped)


def test_runs_of_one_stage_share_a_chart(tmp_path: Path) -> None:
    page, _ = written(chain(tmp_path), tmp_path)
    assert page.count('-title">Training accuracy</title>') == 1
    assert re.search(r"finetune-scratch <b>", page)


def test_the_untrained_level_comes_from_step_0_only(tmp_path: Path) -> None:
    path = tmp_path / "pretrain"
    write_records(path, [{"step": 0, "knn": 0.25}, {"step": 9, "knn": 0.5}])
    finished(path, "pretrain", "checkpoint")
    assert "untrained, 25.0 %" in plain(written([path], tmp_path)[1].text)
    write_records(path, [{"step": 5, "knn": 0.25}, {"step": 9, "knn": 0.5}])
    assert "untrained, " not in written([path], tmp_path)[1].text


def test_a_step_recorded_twice_is_drawn_once_with_its_last_word(tmp_path: Path) -> None:
    path = tmp_path / "pretrain"
    steps = [1, 2, 3, 4, 3, 4, 5]
    write_records(path, [{"step": s, "loss": 1.0 + place} for place, s in enumerate(steps)])
    finished(path, "pretrain", "checkpoint")
    page, parsed = written([path], tmp_path)
    assert page.count("<circle cx") == 5 + 1
    assert "step 3: 5.00" in parsed.text


@pytest.mark.parametrize("records", [0, 1, 2, 10_000])
def test_a_run_of_any_length_has_a_page_of_moderate_size(tmp_path: Path, records: int) -> None:
    path = tmp_path / "pretrain"
    write_records(path, [{"step": s, "loss": 1 / (s + 1), "rate": 0.1} for s in range(records)])
    finished(path, "pretrain", "checkpoint")
    page, parsed = written([path], tmp_path)
    check_self_contained(page, parsed)
    assert len(page) < 100_000


def test_nothing_that_a_file_says_becomes_markup(tmp_path: Path) -> None:
    path = tmp_path / "<b>finetune & more<b>"
    write_records(path, [{"step": 1, "loss": 1.0, HOSTILE: 2.0}])
    (path / "bad_samples.jsonl").write_text(json.dumps({"shard": "s", "key": "k", "reason": HOSTILE}) + "\n")
    (path / "scores.json").write_text(
        json.dumps(
            {
                "per_class": {HOSTILE: 0.5},
                "confused": [{"is": HOSTILE, "taken_for": HOSTILE, "samples": 3}],
            }
        )
    )
    finished(path, "finetune", HOSTILE, config={"start": HOSTILE, HOSTILE: HOSTILE}, facts={"splits": {HOSTILE: 3}})
    finished(path.with_name("probe"), HOSTILE, "scores", inputs={HOSTILE: path}, figures={"knn_pretrained": 0.5})
    page, parsed = written([path, path.with_name("probe")], tmp_path)
    check_self_contained(page, parsed)
    assert "<script" not in page
    assert not parsed.named("img")
    assert not parsed.named("b") or all(not attributes for attributes in parsed.named("b"))
    assert HOSTILE in parsed.text


def test_unfinished_damaged_and_missing_runs_are_shown_as_such(tmp_path: Path) -> None:
    shards, pretrain, *_ = chain(tmp_path)
    (shards / "artifact.json").write_text("{")
    (pretrain / "crops.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    (pretrain / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": 3.0}\n\xff\xfe\n')
    (pretrain / "config.yaml").write_text("{ not yaml")
    (tmp_path / "finetune-late").mkdir()
    page, parsed = written([shards, pretrain, tmp_path / "finetune-late", tmp_path / "gone"], tmp_path)
    check_self_contained(page, parsed)
    for said in (
        "shard is damaged: artifact.json cannot be read",
        "pretrain is damaged: crops.png is missing or has changed",
        "crops.png is damaged and cannot be shown",
        "finetune-late is unfinished",
        "gone is missing: there is no such directory",
    ):
        assert said in parsed.text, said


def test_a_page_without_any_run_still_opens(tmp_path: Path) -> None:
    assert "Nothing has finished yet." in written([], tmp_path)[1].text


def test_pictures_are_carried_byte_for_byte_and_small_ones_enlarged(tmp_path: Path) -> None:
    path = tmp_path / "pretrain"
    picture(path / "crops.png", 120, 80)
    finished(path, "pretrain", "checkpoint", files=("crops.png",))
    _, parsed = written([path], tmp_path)
    (image,) = parsed.named("img")
    assert base64.b64decode((image["src"] or "").partition(",")[2]) == (path / "crops.png").read_bytes()
    assert (image["width"], image["height"], image["class"]) == ("360", "240", "pixels")
    assert image["alt"]


def test_of_many_classes_the_most_and_the_least_accurate_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "finetune"
    path.mkdir()
    classes = {f"class {i:04}": i / 1000 for i in range(1000)}
    (path / "scores.json").write_text(json.dumps({"per_class": classes}))
    finished(path, "finetune", "checkpoint")
    text = written([path], tmp_path)[1].text
    shown = [int(number) for number in re.findall(r"class (\d{4})", text)]
    assert shown == [*range(999, 987, -1), *range(11, -1, -1)]
    assert "976 classes between" in text


def test_the_page_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = finished(tmp_path / "probe", "probe", "scores")
    before = sorted(p.name for p in path.iterdir())
    assert write([path], path) == path / "report.html"
    write([path], path)
    assert sorted(p.name for p in path.iterdir()) == sorted([*before, "report.html"])


def test_a_directory_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="out=DIR"):
        write([], tmp_path / "file")


def test_a_report_is_written_without_torch(tmp_path: Path) -> None:
    script = "import sys; from pipeline.report import write; write([], sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


def test_figures_are_worded_as_a_reader_wants_them() -> None:
    values = (12345.6, 123.4, 3.214, 0.01234, 2.384e-7, -0.5, 0)
    assert [plain(figure(v)) for v in values] == ["12,346", "123", "3.21", "0.0123", "2.4 × 10⁻⁷", "−0.500", "0"]
    seconds = (0.04, 42, 135, 7300, 187200)
    assert [plain(duration(s)) for s in seconds] == ["0.0 s", "42 s", "2 min 15 s", "2 h 1 min", "2 d 4 h"]
    assert (plain(percent(0.6173)), percent(None), count(5229)) == ("61.7 %", "", "5,229")
    assert [listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_the_error_removed_is_a_share_of_the_untrained_error() -> None:
    assert removed(0.4, 0.7) == pytest.approx(0.5)
    assert removed(0.5, 0.4) == pytest.approx(-0.2)
    assert removed(1.0, 1.0) is None


def test_elements_escape_text_and_attributes_but_not_markup() -> None:
    inner = tag("b", "1 < 2 & 3")
    assert inner == "<b>1 &lt; 2 &amp; 3</b>"
    assert tag("a", inner, None, href='"x"', class_="y", hidden=None, open=True) == (
        '<a href="&quot;x&quot;" class="y" open><b>1 &lt; 2 &amp; 3</b></a>'
    )
    assert tag("br") == "<br>"
    assert isinstance(join([Html("<i>"), "<i>"]), Html)
    assert join([Html("<i>"), "<i>"], ", ") == "<i>, &lt;i&gt;"


def test_a_pretraining_page_shows_what_the_run_directory_has(tmp_path: Path) -> None:
    shards = finished(tmp_path / "shard", "shard", "shards")
    path = pretrained(tmp_path / "pretrain", shards, steps=100)
    page, parsed = written([path], path)
    check_self_contained(page, parsed)
    assert "A custom RegNet pretrained with swav for 100 steps." in parsed.text
    assert len(parsed.named("img")) == 2
    assert str(shards) in parsed.text
