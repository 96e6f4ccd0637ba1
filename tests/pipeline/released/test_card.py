"""The card says what the network is, what was checked and what was not, and where it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pytest
import yaml

from data_shards.manifest import Manifest, Shard
from pipeline.models.regnet import RegNet
from pipeline.released.card import Card, Measured, Written
from pipeline.released.lineage import Ancestor
from pipeline.views import Evaluation
from tests.pipeline.released.writers.releases import CLASSES, CUSTOM, NAMED, release

WRITTEN = [
    Written(title="timm", where="timm/", usage="```python\nopen()\n```", difference=1.2e-7),
    Written(title="VISSL", where="vissl/", usage="```yaml\n```", difference=None, remark="a remark"),
]


def card(
    model: RegNet.Config = CUSTOM,
    classes: tuple[str, ...] = (),
    ancestors: Sequence[Ancestor] = (),
    left_out: Mapping[str, str] | None = None,
    **changes: object,
) -> Card:
    made = Card(
        title="A network",
        release=release(model, classes),
        licence="",
        written=WRITTEN,
        left_out=left_out or {},
        images=16,
        ancestors=ancestors,
    )
    return dataclasses.replace(made, **changes)


def head(told: Card) -> Mapping[str, object]:
    _, lines, _ = str(told).split("---\n", 2)
    found: Mapping[str, object] = yaml.safe_load(lines)
    return found


def manifest(shards: int) -> Manifest:
    return Manifest(
        shards=tuple(Shard(f"train-{n:06d}.tar", "train", 10, 100, f"{n:064x}", 10 * n) for n in range(shards)),
        classes=("a", "b"),
        totals={},
        source={"name": "image_folder", "path": "/home/someone/pictures", "listing": "0123456789abcdef"},
        settings={},
    )


@pytest.mark.parametrize(
    ("licence", "says"),
    [
        ("", {"license": "unknown"}),
        ("cc-by-nc-4.0", {"license": "cc-by-nc-4.0"}),
        ("SEER: research only", {"license": "other", "license_name": "SEER: research only"}),
    ],
)
def test_the_licence_is_metadata_as_hubs_read_it(licence: str, says: Mapping[str, str]) -> None:
    found = head(card(licence=licence))
    assert {key: value for key, value in found.items() if key.startswith("license")} == says


def test_the_licence_of_the_weights_behind_it_is_stated_where_none_is_given() -> None:
    behind = [Ancestor(kind="checkpoint", content="c", stage="fetch", source={"licence": "research only"})]
    assert head(card(ancestors=behind))["license_name"] == "research only"
    own = str(card(ancestors=behind, licence="mit"))
    assert "The weights it was made from came under: research only." in own


def test_a_classifier_and_a_backbone_say_what_they_give() -> None:
    assert "It makes the scores of 3 classes of an image of 3 × 48 × 48." in str(card(NAMED, CLASSES))
    assert "Classes, in the order of the scores: cat, dog, émeu." in str(card(NAMED, CLASSES))
    assert "The RegNet `regnety_200mf`" in str(card(NAMED))
    assert "a feature vector of length 64" in str(card())
    assert head(card())["pipeline_tag"] == "image-feature-extraction"
    many = tuple(f"class_{n}" for n in range(60))
    assert "class\\_39 and 20 more." in str(card(CUSTOM, many))


def test_what_was_not_checked_is_not_called_checked() -> None:
    text = str(card(left_out={"ONNX": "onnx is not installed"}))
    assert "| timm | `timm/` | 1.2e-07 |  |" in text
    assert "| VISSL | `vissl/` | not checked | a remark |" in text
    assert "- ONNX: onnx is not installed" in text


def test_preprocessing_is_what_the_view_does() -> None:
    assert "shorter side to 56 pixels, bilinear" in str(card())
    warped = release(CUSTOM, (), Evaluation.Config(size=48, resize=50, keep_ratio=False))
    assert "50 × 50 pixels, whatever its shape, bilinear" in str(card(release=warped))
    assert "| mean | 0.5, 0.4, 0.3 |" in str(card())


def test_lineage_ends_at_the_hashes_of_shards() -> None:
    data = manifest(3)
    config = {"objective": {"name": "swav"}, "trainer": {"duration": "12 steps", "batch": 32}, "seed": 0}
    behind = [
        Ancestor(kind="checkpoint", content="ab" * 32, stage="pretrain", reads={"shards": data.root}, config=config),
        Ancestor(kind="shards", content=data.root, stage="shard", manifest=data),
        Ancestor(kind="checkpoint", content="cd" * 32),
    ]
    text = str(card(ancestors=behind))
    assert f"| pretrain | swav, 12 steps, batch 32, seed 0 | `{'ab' * 32}` | `{data.root[:12]}` |" in text
    assert f"| shard | source image\\_folder, listing 0123456789ab | `{data.root}` |  |" in text
    assert f"| a checkpoint that is no longer here |  | `{'cd' * 32}` |  |" in text
    assert all(shard.hash in text for shard in data.shards)
    assert "/home/someone" not in text


def test_of_many_shards_the_first_are_listed_and_the_root_stands_for_all() -> None:
    data = manifest(100)
    text = str(card(ancestors=[Ancestor(kind="shards", content=data.root, stage="shard", manifest=data)]))
    assert "And 84 more, whose hashes are in the `manifest.json` with that root." in text
    assert data.shards[15].hash in text
    assert data.shards[16].hash not in text


def test_figures_say_which_stage_found_them_and_of_what() -> None:
    tuned = Ancestor(kind="checkpoint", content="ab" * 32, stage="finetune", figures={"accuracy": 0.9})
    knn = Measured(stage="knn", content="cd" * 32, figures={"knn_top1": 0.5})
    text = str(card(ancestors=[tuned], measured=[knn]))
    assert "| accuracy | 0.9 | `finetune` of `abababababab` |" in text
    assert "| knn top1 | 0.5 | `knn` of `cdcdcdcdcdcd` |" in text


def test_names_cannot_break_the_page() -> None:
    text = str(card(CUSTOM, ("a|b", "<script>", "[x](y)")))
    assert "a\\|b, \\<script\\>, \\[x\\](y)" in text
