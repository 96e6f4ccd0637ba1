"""What came of it, for a terminal: accuracy, what is taken for what, the model, and two lines that use it."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.artifacts import Artifact
from pipeline.results import SCORES
from pipeline.runs import REPORT

_PAIRS = 5


def ending(finetuned: Artifact, exported: Artifact, out: Path) -> str:
    """The closing lines of a finished run."""
    scores = json.loads((finetuned.path / SCORES).read_text(encoding="utf-8"))
    model = exported.path / str(exported.facts["weights"])
    lines = ["", f"  accuracy   {scores['accuracy']:.1%} on {scores['samples']:,} pictures that it has not seen"]
    if len(scores["per_class"]) > 5:
        lines.append(f"  top-5      {scores['accuracy_top5']:.1%}")
    for pair in scores["confused"][:_PAIRS]:
        times = "once" if pair["samples"] == 1 else f"{pair['samples']} times"
        lines.append(f"  confused   {pair['is']} taken for {pair['taken_for']}, {times}")
    lines += [
        f"  model      {model}",
        f"  report     {out / 'report' / REPORT}",
        "",
        "Use it:",
        "",
        "  from pipeline.released.predictor import Predictor",
        f'  print(Predictor("{model}")("picture.jpg"))',
        "",
    ]
    return "\n".join(lines)
