"""knn: weighted nearest neighbours on features, over a grid of k and temperature, by one search.

The k and temperature that count are chosen among the bank's own samples, each left out of the bank while it is asked
about, and never by the queries. Processes share the queries; the bank may be of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from data_shards.progress import Progress
from pipeline import results
from pipeline.artifacts import Artifact, digest
from pipeline.evaluation.compute import Processes, Team, together
from pipeline.evaluation.feature_sets.asked import bank, rounds
from pipeline.evaluation.feature_sets.feature_set import FeatureSet
from pipeline.evaluation.labels import classes
from pipeline.evaluation.search.knn import Grid
from pipeline.evaluation.search.neighbours import check_ks, nearest
from pipeline.results import Chart, Table, share
from pipeline.runs import Run
from pipeline.stages.labelled import say
from pipeline.stages.stage import Input, Result


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `knn`."""

    out: str = field(default="runs/knn", metadata={"identity": False})
    """Run directory."""
    features: str = field(default="runs/features", metadata={"identity": False})
    """Run directory of `features`; its samples need labels."""
    bank: str = "train"
    """Split whose labels vote."""
    query: str = "test"
    """Split that is asked about; the bank's own, and each sample is left out of the bank while it is asked about."""
    taps: tuple[str, ...] = ()
    """Taps that are asked, each by itself; all that there are where none is named."""
    ks: tuple[int, ...] = (10, 20, 100, 200)
    """Numbers of neighbours that vote."""
    temperatures: tuple[float, ...] = (0.03, 0.07, 0.1)
    """Divide the cosine in a vote's weight; lower trusts the nearest more."""
    asked: int = 5000
    """Samples of the bank by which k and temperature are chosen, evenly spread; all where it has fewer."""
    compute: Processes = field(default_factory=Processes, metadata={"identity": False})
    """How many processes share the queries, and on what."""

    def __post_init__(self) -> None:
        check_ks(self.ks)
        if not self.temperatures or min(self.temperatures) <= 0 or len(set(self.temperatures)) < len(self.temperatures):
            raise ValueError("temperatures needs numbers above 0, none twice")
        if self.asked < 1:
            raise ValueError("asked must be at least 1")


def inputs(config: Config) -> Mapping[str, Input]:
    """Features."""
    return {"features": Input(config.features, "features")}


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Search, count, choose; a run that was killed begins again."""
    features = FeatureSet(inputs["features"])
    features.check_labels("knn")
    taps = config.taps or tuple(features.taps)
    for split in (config.bank, config.query):
        features.check(split, *taps)
    known, asks = features.labels(config.bank), features.labels(config.query)
    doubts = classes.check(
        features.classes,
        known.numpy(),
        asks.numpy(),
        config.features,
        train=config.bank,
        test=config.query,
        refuse=False,
    )
    say(run, "knn", doubts)
    labelled = torch.nonzero(known >= 0).flatten()
    chosen = labelled[_spread(len(labelled), config.asked)]
    with together() as team:
        total = len(taps) * (len(team.share(len(asks))) + len(team.share(len(chosen))))
        with Progress(total, unit="queries", label="knn", quiet=not team.is_first) as progress:
            grids = {tap: _search(config, features, tap, chosen, team, progress) for tap in taps}
    return _result(config, run, grids)


def _search(
    config: Config, features: FeatureSet, tap: str, chosen: Tensor, team: Team, progress: Progress
) -> tuple[Grid, Grid]:
    """Counts over all processes: for the bank's chosen samples, and for the queries."""
    device, k, count = config.compute.device(), max(config.ks), len(features.classes)
    found = []
    for split, rows in ((config.bank, chosen), (config.query, None)):
        counts = torch.zeros(2, len(config.ks), len(config.temperatures), dtype=torch.int64)
        asked = 0
        for queries in rounds(features, split, tap, team, rows):
            own = queries.indices if split == config.bank else None
            near = nearest(queries.features.to(device), bank(features, config.bank, tap), k, own=own)
            grid = Grid.of(near, queries.labels, count, config.ks, config.temperatures)
            counts += torch.stack([grid.top1, grid.top5])
            asked += grid.asked
            progress.update(len(queries.labels))
        counts, all_asked = team.sum(counts), team.sum(torch.tensor(asked))
        found.append(Grid(counts[0], counts[1], int(all_asked)))
    return found[0], found[1]


def _spread(count: int, asked: int) -> Tensor:
    """At most `asked` of `count` places, evenly spread: of every class where samples lie in order of class."""
    return torch.arange(min(count, asked)) * count // min(count, asked)


def _result(config: Config, run: Run, grids: Mapping[str, tuple[Grid, Grid]]) -> Result:
    rows, figures = [], {}
    tables: list[Table] = []
    charts: list[Chart] = []
    for tap, (own, grid) in grids.items():
        row, column = own.best()
        top1, top5 = (float(counts[row, column]) / grid.asked for counts in (grid.top1, grid.top5))
        k, temperature = config.ks[row], config.temperatures[column]
        rows.append([tap, f"{k}", f"{temperature:g}", share(top1), share(top5)])
        figures[tap] = {"knn": round(top1, 6), "knn_top5": round(top5, 6), "k": k, "temperature": temperature}
        table, chart = _drawn(config, tap, grid)
        tables.append(table)
        charts.append(chart)
    summary = Table(
        title=f"kNN accuracy: {next(iter(grids.values()))[1].asked:,} queries of {config.query}, bank {config.bank}",
        heads=("tap", "k", "temperature", "top-1", "top-5"),
        rows=rows,
        note=f"k and temperature chosen by samples of {config.bank}, each asked about without itself.",
    )
    tables = [summary, *tables]
    if run.writes:
        results.save(run.path, tables, charts)
        print("\n\n".join(map(str, tables)), flush=True)
    # Of several taps the first one's are the headline: choosing the best by the queries would flatter it.
    first = next(iter(figures.values()))
    return Result(
        kind="scores",
        content=digest(figures),
        files=(results.FILE,),
        figures={name: first[name] for name in ("knn", "knn_top5")},
        facts={name: first[name] for name in ("k", "temperature")},
    )


def _drawn(config: Config, tap: str, grid: Grid) -> tuple[Table, Chart]:
    """The whole grid of a tap."""
    shares = (grid.top1.double() / grid.asked).tolist()
    names = [f"temperature {value:g}" for value in config.temperatures]
    table = Table(
        title=f"kNN accuracy of {tap}, by k and temperature",
        heads=("k", *names),
        rows=[[f"{k}", *map(share, line)] for k, line in zip(config.ks, shares, strict=True)],
    )
    columns = zip(names, zip(*shares, strict=True), strict=True)
    chart = Chart(
        title=f"kNN accuracy of {tap}",
        series=[(name, sorted(zip(map(float, config.ks), column, strict=True))) for name, column in columns],
        along="neighbours that vote",
        percent=True,
        logarithmic=True,
    )
    return table, chart
