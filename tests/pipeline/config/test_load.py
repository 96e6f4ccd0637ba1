"""Recipes become typed configs, and every mistake is reported at once with what was meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from pipeline import config
from pipeline.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SwAV:
    name: Literal["swav"] = "swav"
    prototypes: int = 3000
    """Number of prototypes."""
    epsilon: float = 0.05

    def __post_init__(self) -> None:
        if self.prototypes < 2:
            raise ValueError("prototypes must be at least 2")


@dataclass(frozen=True, kw_only=True)
class BYOL:
    name: Literal["byol"] = "byol"
    momentum: float = 0.99


@dataclass(frozen=True, kw_only=True)
class Crops:
    count: int
    size: int = 224


@dataclass(frozen=True, kw_only=True)
class Recipe:
    out: str = field(metadata={"identity": False})
    """Run directory."""
    objective: Annotated[SwAV | BYOL, Field(discriminator="name")] = field(default_factory=SwAV)
    crops: tuple[Crops, ...] = (Crops(count=2),)
    rate: float | None = None
    mode: Literal["fast", "slow"] = "fast"
    label: str = "x"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def mistakes(*overrides: str, recipe: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(Recipe, recipe, overrides)
    return caught.value.mistakes


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    recipe = write(tmp_path, "r.yaml", "out: runs\nrate: 1e-4\nlabel: on\n")
    loaded = config.load(Recipe, recipe)
    assert loaded.rate == 1e-4
    assert loaded.label == "on"
    assert config.parse("[1, -2, 0x, 1e3, 1., .5, .inf, true, no, 2024-01-01, 012]") == [
        *[1, -2, "0x", 1000.0, 1.0, 0.5, float("inf"), True, "no", "2024-01-01", 12],
    ]


def test_bases_lie_below_and_overrides_above(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "out: a\nrate: 1.0\nobjective: {name: swav, prototypes: 10, epsilon: 0.1}\n")
    recipe = write(tmp_path, "r.yaml", "base: base.yaml\nobjective: {prototypes: 20}\n")
    loaded = config.load(Recipe, recipe, ["rate=0.5", "crops.0.count=4"], {"crops": [{"count": 1}], "out": "z"})
    assert loaded == Recipe(
        out="a", rate=0.5, objective=SwAV(prototypes=20, epsilon=0.1), crops=(Crops(count=4),), mode="fast"
    )


def test_another_variant_inherits_nothing_from_the_one_below(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "out: a\nobjective: {name: swav, prototypes: 10}\n")
    recipe = write(tmp_path, "r.yaml", "base: [base.yaml]\nobjective: {name: byol}\n")
    assert config.load(Recipe, recipe).objective == BYOL()
    assert config.load(
        Recipe, tmp_path / "base.yaml", ["objective.name=byol", "objective.momentum=0.5"]
    ).objective == BYOL(momentum=0.5)


def test_an_override_of_the_default_variant_need_not_name_it() -> None:
    assert config.load(Recipe, None, ["out=a", "objective.prototypes=7"]).objective == SwAV(prototypes=7)


def test_every_mistake_is_reported_at_once_with_its_place(tmp_path: Path) -> None:
    recipe = write(tmp_path, "r.yaml", "objective: {name: swav, prototypse: 3}\nmode: fats\n")
    found = mistakes("rate=quick", recipe=recipe)
    assert len(found) == 4
    assert any("objective.prototypse: no such key; did you mean prototypes?" in line for line in found)
    assert any(line.startswith("command line: rate: ") and "'quick' was given" in line for line in found)
    assert any("mode: 'fats' is none of 'fast' or 'slow'; did you mean fast?" in line for line in found)
    assert any("out: must be given: Run directory." in line for line in found)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("objective.name=bool", "objective: name: 'bool' is unknown; did you mean byol?"),
        ("objective.prototypes=1", "objective: prototypes must be at least 2"),
        ("crops=[{siez: 3, count: 1}]", "crops.0.siez: no such key; did you mean size?"),
        ("crops=3", "crops: input should be a valid tuple, but 3 was given"),
        ("out.x=3", "out: input should be a valid string"),
        ("nonsense", "'nonsense' is not an override; write key=value"),
        ("label=[", "label: '[' cannot be read as a YAML value"),
    ],
)
def test_a_mistake_says_what_would_be_right(override: str, says: str) -> None:
    found = mistakes("out=a", override) if not override.startswith("out") else mistakes(override)
    assert len(found) == 1, found
    assert says in found[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [("- 1\n", "holds a list"), ("a: [1\n", "cannot be read as YAML"), ("base: r.yaml\n", "is its own base")],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str, says: str) -> None:
    recipe = write(tmp_path, "r.yaml", text)
    assert says in mistakes(recipe=recipe)[0]


def test_a_missing_recipe_suggests_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "pretrain.yaml", "out: a\n")
    assert f"did you mean {tmp_path / 'pretrain.yaml'}?" in mistakes(recipe=tmp_path / "pretran.yaml")[0]


def test_what_is_written_into_the_run_directory_gives_the_same_config(tmp_path: Path) -> None:
    loaded = config.load(Recipe, None, ["out=a", "objective={name: byol, momentum: 0.1}", "rate=1e-7", "label=on"])
    written = write(tmp_path, "config.yaml", config.dump(config.to_mapping(loaded)))
    assert config.load(Recipe, written) == loaded


def test_identity_leaves_out_what_cannot_change_the_result() -> None:
    one, other = (config.load(Recipe, None, [f"out={out}"]) for out in "ab")
    assert config.identity(one) == config.identity(other)
    assert config.to_mapping(one) != config.to_mapping(other)


def test_help_lists_every_field_with_type_default_and_text() -> None:
    fields = {(field.variant, field.key): field for field in config.describe(Recipe)}
    assert fields["", "out"].help == "Run directory."
    assert fields["", "out"].default == "required"
    assert fields["swav", "objective.prototypes"].default == "3000"
    assert fields["swav", "objective.prototypes"].help == "Number of prototypes."
    assert fields["byol", "objective.momentum"].type == "float"
    assert fields["", "crops[].size"].default == "224"
    assert fields["", "mode"].type == "fast | slow"
