"""Run directories as the stages leave them, made in milliseconds."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.artifacts import Artifact, describe_files, digest
from pipeline.config import dump
from pipeline.results import Chart, Table, save

PROTOTYPES = 100
LN_K = math.log(PROTOTYPES)
CLASSES = ("astronaut", "coffee", "grass", "gravel")


def finished(
    path: Path,
    stage: str,
    kind: str,
    *,
    config: Mapping[str, Any] | None = None,
    figures: Mapping[str, float] | None = None,
    facts: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Path] | None = None,
    files: tuple[str, ...] = (),
    seconds: float = 1.0,
) -> Path:
    """A finished run; its inputs are runs made before."""
    settings = {"out": str(path), **(config or {})}
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(dump(settings), encoding="utf-8")
    sources = {key: Artifact.load(source) for key, source in (inputs or {}).items()}
    Artifact(
        stage=stage,
        kind=kind,
        fingerprint=digest(["asked", stage, path.name]),
        content=digest(["made", stage, path.name]),
        files=describe_files(path, files),
        inputs={key: {"path": str(a.path), "kind": a.kind, "content": a.content} for key, a in sources.items()},
        figures=figures or {},
        facts=facts or {},
        config=settings,
        version="0.1.0",
        seconds=seconds,
        path=path,
    ).save()
    return path


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """metrics.jsonl of these records."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def pretraining(steps: int, every: int = 10) -> list[dict[str, Any]]:
    """Records of a run that learns."""
    draw = random.Random(steps)
    records: list[dict[str, Any]] = [{"step": 0, "knn": 0.362}]
    for step in sorted({1, *range(every, steps + 1, every), steps}):
        done = step / steps
        records.append(
            {
                "step": step,
                "epoch": done * 10,
                "rate": 0.6 * (0.5 + 0.5 * math.cos(math.pi * done)),
                "images_per_second": 190 + draw.gauss(0, 5),
                "data_wait": 0.03,
                "loss": LN_K + 0.1 - 1.5 * done + draw.gauss(0, 0.02),
                "ln_k": LN_K,
                "code_entropy": 3 - done,
                "prototype_usage": 0.5 + 0.3 * done,
                "feature_std": 0.4 + 0.4 * done,
                "energy_gap": 0.02 + 0.6 * done,
            }
        )
    return [*records, {"step": steps, "knn": 0.61}]


def picture(path: Path, width: int, height: int) -> str:
    """A PNG of noise; gives its name."""
    noise = random.Random(width).randbytes(width * height * 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("RGB", (width, height), noise).save(path)
    return path.name


def pretrained(path: Path, shards: Path, steps: int = 900) -> Path:
    """A run of pretrain with its curves and pictures."""
    write_records(path, pretraining(steps))
    files = (picture(path / "crops.png", 140, 272), picture(path / "prototypes.png", 528, 792))
    return finished(
        path,
        "pretrain",
        "checkpoint",
        config={"model": {"name": "regnet", "size": "custom"}, "objective": {"name": "swav", "prototypes": PROTOTYPES}},
        figures={"loss_first": 4.71, "loss_last": 3.12, "ln_k": LN_K},
        facts={"steps": steps},
        inputs={"shards": shards},
        files=files,
        seconds=141.2,
    )


def finetuned(path: Path, shards: Path, checkpoint: Path, accuracy: float) -> Path:
    """A run of finetune with scores by class."""
    write_records(path, [{"step": s, "loss": 2 - s / 40, "accuracy": s / 60} for s in range(1, 51, 7)])
    scores = {
        "accuracy": accuracy,
        "accuracy_top5": 1.0,
        "samples": 160,
        "per_class": {name: accuracy - i / 50 for i, name in enumerate(CLASSES)},
        "confused": [{"is": "grass", "taken_for": "gravel", "samples": 7}],
    }
    (path / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    return finished(
        path,
        "finetune",
        "checkpoint",
        config={"start": "pretrained"},
        figures={"accuracy": accuracy},
        facts={"classes": list(CLASSES), "labels": 418},
        inputs={"shards": shards, "checkpoint": checkpoint},
        files=("scores.json",),
        seconds=38.0,
    )


def measured(path: Path, checkpoint: Path) -> Path:
    """A run of knn with a table and a chart of its own."""
    path.mkdir(parents=True)
    rows = [("10", "51.9 %", "49.0 %"), ("20", "52.4 %", "50.2 %"), ("200", "48.0 %", "47.1 %")]
    table = Table(
        title="kNN accuracy", heads=("k", "T = 0.07", "T = 0.1"), rows=rows, note="Best on the held-out part."
    )
    series = [
        (name, [(float(k), float(line[i][:4]) / 100) for k, *line in rows]) for i, name in enumerate(table.heads[1:])
    ]
    chart = Chart(title="kNN accuracy by k", series=series, along="neighbours", percent=True, logarithmic=True)
    save(path, [table], [chart])
    figures = {"knn": 0.524}
    return finished(path, "knn", "scores", figures=figures, inputs={"features": checkpoint}, files=("results.json",))


def chain(folder: Path) -> list[Path]:
    """Every stage of a chain, in the order they finish."""
    shards = finished(
        folder / "shard",
        "shard",
        "shards",
        config={"source": {"name": "photographs"}},
        figures={"accepted": 5229.0, "quarantined": 2.0, "duplicates": 12.0},
        facts={"splits": {"train": 4181, "test": 1048}},
        seconds=6.4,
    )
    pretrain = pretrained(folder / "pretrain", shards)
    probe = finished(
        folder / "probe",
        "probe",
        "scores",
        figures={"knn_random": 0.362, "knn_pretrained": 0.617, "linear_random": 0.44, "linear_pretrained": 0.72},
        inputs={"shards": shards, "checkpoint": pretrain},
    )
    first = finetuned(folder / "finetune", shards, pretrain, 0.813)
    second = finetuned(folder / "finetune-scratch", shards, pretrain, 0.455)
    export = finished(
        folder / "export",
        "export",
        "exported",
        figures={"largest_difference": 2.384e-7, "parameters": 512330.0},
        inputs={"shards": shards, "checkpoint": first},
    )
    return [shards, pretrain, probe, measured(folder / "knn", pretrain), first, second, export]
