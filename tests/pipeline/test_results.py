"""What a stage found out, for people and for the report."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.results import FILE, Chart, Table, interval, plus_minus, save, share

TABLE = Table(
    title="kNN accuracy", heads=("k", "T = 0.07", "T = 0.1"), rows=[("10", "51.9 %", "9.0 %")], note="Best: 10."
)


def test_a_table_reads_in_columns() -> None:
    assert str(TABLE).splitlines() == [
        "kNN accuracy",
        "  k   T = 0.07  T = 0.1",
        "  10    51.9 %    9.0 %",
        "  Best: 10.",
    ]


def test_what_is_saved_is_plain_data(tmp_path: Path) -> None:
    chart = Chart(title="kNN accuracy", series=[("T = 0.07", [(10, 0.519), (20, 0.5)])], along="k", percent=True)
    save(tmp_path, [TABLE], [chart])
    found = json.loads((tmp_path / FILE).read_text())
    assert found["tables"][0]["rows"] == [["10", "51.9 %", "9.0 %"]]
    assert found["charts"][0]["series"] == [["T = 0.07", [[10, 0.519], [20, 0.5]]]]


def test_shares_and_their_intervals_read_alike_everywhere() -> None:
    assert share(0.12344) == "12.34 %"
    assert interval(0.2405, 0.31884) == "24.05 to 31.88 %"
    assert plus_minus(0.012) == "± 1.20 %"
