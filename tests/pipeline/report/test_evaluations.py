"""What stages lay out in results.json is on the page as they wrote it, and nothing in it breaks the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.report.evaluations import evaluations
from pipeline.report.read import read
from pipeline.results import FILE, Chart, Table, save
from tests.pipeline.report.made import chain, finished
from tests.pipeline.report.test_page import HOSTILE, Parsed, check_self_contained, plain, written

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NUMBERS = st.floats() | st.integers()
LINES = st.lists(st.tuples(st.text(max_size=3), st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4) | JSON), max_size=3)


def drawn(path: Path, body: Any) -> Parsed:
    path.mkdir(exist_ok=True)
    (path / FILE).write_text(json.dumps(body))
    return Parsed(str(evaluations([read(path)]) or ""))


def test_tables_and_charts_of_a_stage_are_on_the_page_as_it_wrote_them(tmp_path: Path) -> None:
    page, parsed = written(chain(tmp_path), tmp_path)
    check_self_contained(page, parsed)
    text = plain(parsed.text)
    assert "kNN accuracykT = 0.07T = 0.11051.9 %49.0 %2052.4 %50.2 %20048.0 %47.1 %Best on the held-out part." in text
    assert "T = 0.07: from 51.9 % at neighbours 10 to 48.0 % at neighbours 200" in text
    assert "knn: knn52.4 %" in text


def test_a_long_table_is_cut_and_says_where_the_rest_is(tmp_path: Path) -> None:
    rows = [(f"class {i:03}", "1.0 %") for i in range(100)]
    save(tmp_path, [Table(title="By class", heads=("class", "accuracy"), rows=rows)])
    text = Parsed(str(evaluations([read(tmp_path)]))).text
    assert "class 039" in text
    assert "class 040" not in text
    assert "60 rows more in results.json" in text


def test_lines_beyond_the_colours_are_dashed_and_each_has_its_name(tmp_path: Path) -> None:
    series = [(f"tap {i}", [(1.0, i / 10), (2.0, i / 9)]) for i in range(8)]
    save(tmp_path, [], [Chart(title="Taps", series=series, along="epochs")])
    parsed = Parsed(str(evaluations([read(tmp_path)])))
    lines = [a["class"] for a in parsed.named("g") if (a.get("class") or "").startswith("series")]
    assert lines == [*(f"series c{i}" for i in range(1, 7)), "series c1 dashed", "series c2 dashed"]
    assert all(f"tap {i}" in parsed.text for i in range(8))


@pytest.mark.parametrize("body", [3, [], {}, {"tables": 3, "charts": {}}, {"tables": [{"heads": ["a"], "rows": []}]}])
def test_results_without_anything_to_show_leave_no_section(tmp_path: Path, body: Any) -> None:
    assert drawn(tmp_path / "knn", body).text == ""


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(tables=JSON, cells=JSON, lines=LINES, words=JSON, logarithmic=st.booleans())
def test_nothing_that_a_results_file_says_breaks_the_page(
    tmp_path: Path, tables: Any, cells: Any, lines: Any, words: Any, logarithmic: bool
) -> None:
    chart = {"title": words, "series": lines, "along": words, "unit": words, "percent": words}
    table = {"title": words, "heads": [HOSTILE, words], "rows": [[HOSTILE, cells], cells]}
    charts = [{**chart, "logarithmic": logarithmic}, {**chart, "series": cells}, cells]
    parsed = drawn(tmp_path / "knn", {"tables": [table, tables, cells], "charts": charts})
    assert not parsed.named("script")
    assert not parsed.named("img")
    assert parsed.text.count(HOSTILE) == 2


def test_a_run_of_each_new_stage_says_what_it_was(tmp_path: Path) -> None:
    for stage in ("fetch", "features", "knn", "linear", "lowshot", "retrieval", "evaluate"):
        path = finished(tmp_path / f"{stage}-again", stage, "scores", figures={"map": 0.25})
        text = plain(written([path], path)[1].text)
        assert f"python -m pipeline {stage} " in text
        assert ("map25.0 %" in text) == (stage not in ("fetch", "features"))
        (path / "artifact.json").unlink()
        assert read(path).stage == stage
