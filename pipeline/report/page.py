"""The page: what ran and how to run it again, figures, evaluations, curves, pictures, classes, the chain, configs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from data_shards.markup import Html, join, tag
from pipeline.report.classes import by_class
from pipeline.report.curves import curves
from pipeline.report.evaluations import evaluations
from pipeline.report.lineage import lineage
from pipeline.report.pictures import pictures
from pipeline.report.read import KnownRun, number
from pipeline.report.results import results
from pipeline.report.spent import spent
from pipeline.report.wording import count, counted, duration, listed, moment
from pipeline.runs import CHAIN

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may do for this page: show it. Nothing is fetched and nothing runs."""


def page(runs: Sequence[KnownRun]) -> str:
    """The whole document."""
    title = _title(runs)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{title} · report"),
        tag("style", Html(files("pipeline.report").joinpath("style.css").read_text(encoding="utf-8"))),
    )
    body = tag("body", tag("main", *_sections(runs, title)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sections(runs: Sequence[KnownRun], title: str) -> list[Html | None]:
    shown = [(run, picture) for run in runs if (picture := pictures(run)) is not None]
    seen = join([join([tag("h3", run.name) if len(shown) > 1 else None, picture]) for run, picture in shown])
    return [
        _header(runs, title),
        _section("Results", results(runs)),
        _section("Evaluations" if len(runs) > 1 else "Evaluation", evaluations(runs)),
        _section("Curves", curves(runs)),
        _section("Where the time went", spent(runs)),
        _section("What the network saw and made of it", seen or None),
        _section("Accuracy by class", by_class(runs)),
        _section("Chain" if len(runs) > 1 else "Run", lineage(runs)),
        _section("Configs" if len(runs) > 1 else "Config", join(_details(i, run) for i, run in enumerate(runs))),
        tag("footer", tag("p", "Written by ", tag("code", "python -m pipeline"), ". One file, nothing fetched.")),
    ]


def _section(title: str, content: Html | None) -> Html | None:
    return tag("section", tag("h2", title), content) if content else None


def _title(runs: Sequence[KnownRun]) -> str:
    """A run by its name, a chain by that of its directory."""
    if len(runs) == 1:
        return runs[0].name
    parents = {run.path.parent for run in runs}
    name = parents.pop().name if len(parents) == 1 else ""
    return name or "chain"


def _header(runs: Sequence[KnownRun], title: str) -> Html:
    notices = [
        tag("p", tag("strong", run.name), f" is {run.state}: {run.remark}.", class_="notice")
        for run in runs
        if run.state != "finished"
    ]
    commands = _commands(runs)
    again = None
    if commands:
        hint = "Run it again; what has not changed is skipped."
        again = tag("div", tag("p", hint, class_="soft"), tag("pre", tag("code", "\n".join(commands))), class_="again")
    return tag("header", tag("h1", title), tag("p", _sentence(runs), class_="lead"), _facts(runs), *notices, again)


def _commands(runs: Sequence[KnownRun]) -> list[str]:
    """The chain's command where the runs are one chain, else each run's own."""
    chains = {run.path.parent / CHAIN for run in runs}
    if len(runs) > 1 and len(chains) == 1 and (chain := chains.pop()).is_file():
        return [f"python -m pipeline chain {chain}"]
    return [run.command for run in runs if run.command]


def _facts(runs: Sequence[KnownRun]) -> Html:
    """When, how long, by which code."""
    times = [run.when for run in runs if run.when is not None]
    versions = sorted({run.version for run in runs if run.version})
    facts = []
    if times:
        finished = all(run.state == "finished" for run in runs)
        facts.append(("finished" if finished else "last change", moment(max(times))))
    if any(run.kind for run in runs):
        facts.append(("work", duration(sum(run.seconds for run in runs))))
    if versions:
        facts.append(("code", f"version {listed(versions)}"))
    parts = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag("dl", *parts, class_="facts")


def _sentence(runs: Sequence[KnownRun]) -> str:
    """What ran, in one sentence."""
    done = [run for run in runs if run.kind]
    said: list[str] = []
    for run in done:
        phrase = _phrase(run)
        if run.stage == "finetune":
            times = sum(other.stage == "finetune" for other in done)
            phrase = "fine-tuned on labels" if times == 1 else f"fine-tuned {times} times on labels"
        if phrase not in said:
            said.append(phrase)
    if not said:
        return "Nothing has finished yet."
    text = listed(said)
    return f"{text[0].upper()}{text[1:]}."


def _phrase(run: KnownRun) -> str:
    if run.stage == "shard":
        splits = run.facts.get("splits")
        amounts = [n for value in splits.values() if (n := number(value))] if isinstance(splits, dict) else []
        return f"{counted(sum(amounts), 'image')} packed into shards" if amounts else "images packed into shards"
    if run.stage == "pretrain":
        network, objective = run.setting("model.size") or "regnet", run.setting("objective.name") or "an objective"
        named = "a custom RegNet" if network == "custom" else str(network)
        steps = number(run.facts.get("steps"))
        return f"{named} pretrained with {objective}" + (f" for {counted(steps, 'step')}" if steps else "")
    return _PHRASES.get(run.stage, run.name)


_PHRASES = {
    "fetch": "released weights fetched",
    "probe": "probed",
    "features": "features kept",
    "knn": "measured by nearest neighbours",
    "linear": "measured by linear classifiers",
    "lowshot": "measured with few labels",
    "retrieval": "measured by retrieval",
    "evaluate": "measured as a classifier",
    "export": "exported as safetensors",
    "report": "reported",
}


def _details(index: int, run: KnownRun) -> Html:
    """What a run was asked for and what it left, closed until asked for."""
    facts: list[tuple[str, object]] = [("directory", tag("code", str(run.path)))]
    if run.command:
        facts.append(("again", tag("code", run.command)))
    if run.fingerprint:
        facts.append(("fingerprint", tag("code", run.fingerprint)))
    if run.content:
        facts.append(("content", tag("code", run.content)))
    if run.figures:
        facts.append(("figures", " · ".join(f"{key} {value:g}" for key, value in run.figures.items())))
    if run.records:
        facts.append(("records", f"{count(len(run.records))} in metrics.jsonl"))
    if run.bad:
        facts.append(("bad samples", f"{counted(run.bad_samples, 'sample')} in bad_samples.jsonl"))
    names = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    text = run.config_text.strip() or "no config.yaml"
    summary = tag("summary", run.name, tag("span", run.stage, class_="soft") if run.stage != run.name else None)
    return tag("details", summary, tag("dl", *names), tag("pre", tag("code", text)), id=f"run-{index}")
