"""The comparison on CIFAR-10 spends its budgets evenly and draws both curves."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, cast

from data_shards.stream import ShardSet
from tests.benchmarks.cifar10 import Runner, folder_of, picture
from tests.benchmarks.sides import course
from tests.data_shards.pictures import Listed, jpeg, pack_into


def test_a_budget_is_spent_to_its_end_and_its_share_rises() -> None:
    budget, shares = course.Budget(0.06), []

    def step(share: float) -> None:
        shares.append(share)
        time.sleep(0.004)

    for _ in range(5):
        budget.spend(0.02, step)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] < 1
    assert budget.spent >= 0.06
    assert budget.steps == len(shares)


def test_the_picture_stands_alone_and_has_every_curve() -> None:
    side = cast(Any, None)
    curves = {"ours": [(0.0, 0.3), (60.0, 0.5)], "lightly": [(0.0, 0.3), (61.0, 0.4)]}
    drawn = picture([Runner(name, side, points=points) for name, points in curves.items()])
    root = ElementTree.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = "".join(root.itertext())
    assert "ours: from 30.0\N{NO-BREAK SPACE}% at second 0 to 50.0\N{NO-BREAK SPACE}% at second 60" in text
    assert "#0b6477" in drawn
    assert [one.text for one in root.findall("{*}text")] == ["ours", "lightly"]


def test_a_side_says_how_many_images_it_saw_a_second() -> None:
    runner = Runner("ours", cast(Any, None), {"batch": 128}, [(0.0, 0.3), (10.0, 0.5)], steps=20)
    assert runner.mapping()["images_per_second"] == 256
    assert runner.mapping()["knn"][-1] == {"seconds": 10.0, "knn": 0.5}


def test_lightlys_folder_holds_the_files_of_the_shards(tmp_path: Path) -> None:
    images = [(str(n), "train", f"class{n % 2}", jpeg(n, 20, 20)) for n in range(5)]
    pack_into(tmp_path / "shards", Listed(images))
    folder = folder_of(ShardSet(tmp_path / "shards", "train"), tmp_path / "folder")
    files = sorted((path.parent.name, path.read_bytes()) for path in folder.rglob("*.jpg"))
    assert files == sorted((label, data) for _, _, label, data in images)
