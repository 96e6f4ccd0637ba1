"""retrieval: what a search on features finds of a query's own class: mAP, mAP@k, recall@k.

Within one split each sample asks for the others; or the samples of one split ask for those of another. Processes share
the queries; the gallery may be of any size. For networks meant for it, the tap `gem` is the usual pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from data_shards.progress import Progress
from pipeline import results
from pipeline.artifacts import Artifact, digest
from pipeline.errors import ArtifactError
from pipeline.evaluation.compute import Processes, Team, together
from pipeline.evaluation.feature_sets.asked import bank, rounds
from pipeline.evaluation.feature_sets.feature_set import FeatureSet
from pipeline.evaluation.search.neighbours import check_ks
from pipeline.evaluation.search.retrieval import RELEVANT_BYTES, sums
from pipeline.results import Chart, Table, share
from pipeline.runs import Run
from pipeline.stages.stage import Input, Result

_COUNTS = ("queries", "unanswerable")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `retrieval`."""

    out: str = field(default="runs/retrieval", metadata={"identity": False})
    """Run directory."""
    features: str = field(default="runs/features", metadata={"identity": False})
    """Run directory of `features`; its samples need labels."""
    query: str = "test"
    """Split whose samples ask."""
    gallery: str = "test"
    """Split that is searched; the same one, and each sample is left out while it asks."""
    taps: tuple[str, ...] = ()
    """Taps that are searched, each by itself; all that there are where none is named."""
    ks: tuple[int, ...] = (1, 5, 10, 100)
    """Lengths of the list that is looked at, for mAP@k and recall@k."""
    compute: Processes = field(default_factory=Processes, metadata={"identity": False})
    """How many processes share the queries, and on what."""

    def __post_init__(self) -> None:
        check_ks(self.ks)


def inputs(config: Config) -> Mapping[str, Input]:
    """Features."""
    return {"features": Input(config.features, "features")}


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Search and count; a run that was killed begins again."""
    features = FeatureSet(inputs["features"])
    features.check_labels("retrieval")
    taps = config.taps or tuple(features.taps)
    for split in (config.query, config.gallery):
        features.check(split, *taps)
    labels = features.labels(config.gallery)
    largest = int(torch.bincount(labels[labels >= 0], minlength=1).max())
    with together() as team:
        total = len(taps) * len(team.share(features.rows(config.query)))
        with Progress(total, unit="queries", label="retrieval", quiet=not team.is_first) as progress:
            found = {tap: _search(config, features, tap, largest, team, progress) for tap in taps}
    figures = {}
    for tap, (answered, unanswerable, *values) in found.items():
        if not answered:
            raise ArtifactError(
                config.features,
                f"has no sample in split {config.query} with another of its class in split {config.gallery}",
                "name splits that share classes",
            )
        names = ["map", *(f"map_at_{k}" for k in config.ks), *(f"recall_at_{k}" for k in config.ks)]
        shares = {name: round(value / answered, 6) for name, value in zip(names, values, strict=True)}
        figures[tap] = {**shares, "queries": answered, "unanswerable": unanswerable}
    table = _table(config, figures)
    if run.writes:
        results.save(run.path, [table], [_chart(config, tap, found) for tap, found in figures.items()])
        print(table, flush=True)
    first = next(iter(figures.values()))
    return Result(
        kind="scores",
        content=digest(figures),
        files=(results.FILE,),
        figures={name: first[name] for name in _shares(first)},
        facts={name: first[name] for name in _COUNTS},
    )


def _search(
    config: Config, features: FeatureSet, tap: str, largest: int, team: Team, progress: Progress
) -> list[float]:
    """The sums of `evaluation/search/retrieval.py` over all processes."""
    device = config.compute.device()
    total = torch.zeros(3 + 2 * len(config.ks), dtype=torch.float64)
    for queries in rounds(features, config.query, tap, team, beside=RELEVANT_BYTES * largest):
        total += sums(
            queries.features.to(device),
            queries.labels,
            lambda: bank(features, config.gallery, tap),
            config.ks,
            own=queries.indices if config.query == config.gallery else None,
        )
        progress.update(len(queries.labels))
    found: list[float] = team.sum(total).tolist()
    return found


def _shares(found: Mapping[str, float]) -> list[str]:
    return [name for name in found if name not in _COUNTS]


def _chart(config: Config, tap: str, found: Mapping[str, float]) -> Chart:
    return Chart(
        title=f"Retrieval by {tap}",
        series=[
            (f"{title}@k", [(float(k), found[f"{name}_at_{k}"]) for k in sorted(config.ks)])
            for title, name in (("mAP", "map"), ("recall", "recall"))
        ],
        along="k, the length of the list that is looked at",
        percent=True,
        logarithmic=True,
    )


def _table(config: Config, figures: Mapping[str, Mapping[str, float]]) -> Table:
    first = next(iter(figures.values()))
    among = f"the others of {config.query}" if config.query == config.gallery else config.gallery
    left = int(first["unanswerable"])
    names = _shares(first)
    return Table(
        title=f"Retrieval: {int(first['queries']):,} queries of {config.query} among {among}",
        heads=("tap", *(name.replace("map", "mAP").replace("_at_", "@") for name in names)),
        rows=[[tap, *(share(found[name]) for name in names)] for tap, found in figures.items()],
        note=f"{left:,} samples more have no other of their class there, and do not count." if left else "",
    )
