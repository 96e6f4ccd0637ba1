"""Retrieval against scikit-learn's average precision and against rankings written out one query at a time."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.nn import functional as F

from pipeline.evaluation.features import Features
from pipeline.evaluation.search.knn import in_chunks
from pipeline.evaluation.search.retrieval import sums

KS = (1, 3, 40)


def made(count: int, seed: int) -> Features:
    """Points about four centres; class 3 is rare, some have no label."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 31, (count,), generator=draw) // 10
    centres = torch.randn(4, 6, generator=torch.Generator().manual_seed(5))
    vectors = centres[labels] + torch.randn(count, 6, generator=draw)
    return Features(vectors, torch.where(torch.arange(count) % 9 == 4, -1, labels), torch.arange(count))


def written_out(queries: Features, gallery: Features, within: bool) -> list[float]:
    """By the definitions, one query at a time; average precision of whole rankings is scikit-learn's."""
    total = [0.0] * (3 + 2 * len(KS))
    cosines = F.normalize(queries.features.double(), dim=1) @ F.normalize(gallery.features.double(), dim=1).T
    for row, label in enumerate(queries.labels.tolist()):
        if label < 0:
            continue
        kept = gallery.indices != (queries.indices[row] if within else -1)
        relevant, scores = (gallery.labels == label)[kept], cosines[row][kept]
        if not relevant.any():
            total[1] += 1
            continue
        total[0] += 1
        total[2] += average_precision_score(relevant.numpy(), scores.numpy())
        ranked = relevant[scores.argsort(descending=True)].tolist()
        for place, k in enumerate(KS):
            precisions = [sum(ranked[: i + 1]) / (i + 1) for i in range(min(k, len(ranked))) if ranked[i]]
            total[3 + place] += sum(precisions) / min(k, sum(ranked))
            total[3 + len(KS) + place] += any(ranked[:k])
    return total


@pytest.mark.parametrize("rows", [11, 5000])
def test_within_a_set_and_between_two_the_sums_are_those_of_the_definitions(rows: int) -> None:
    queries, gallery = made(70, 1), made(300, 2)
    labelled = gallery.labelled()
    between = sums(queries.features, queries.labels, lambda: in_chunks(labelled, rows), KS)
    assert between.tolist() == pytest.approx(written_out(queries, labelled, within=False))
    within = sums(gallery.features, gallery.labels, lambda: in_chunks(labelled, rows), KS, own=gallery.indices)
    assert within.tolist() == pytest.approx(written_out(gallery, labelled, within=True))


def test_equally_similar_images_share_their_precision() -> None:
    """Features that have collapsed to one point score as chance, not as perfect."""
    labels = torch.arange(40) % 4
    collapsed = Features(torch.ones(40, 8), labels, torch.arange(40))
    answered, _, precision, *_ = sums(collapsed.features, labels, lambda: [collapsed], (1,), own=collapsed.indices)
    assert float(precision / answered) == pytest.approx(9 / 39)


def test_a_class_that_is_not_in_the_gallery_cannot_be_answered() -> None:
    gallery = Features(torch.eye(3), torch.tensor([0, 0, 1]), torch.arange(3))
    found = sums(torch.eye(3), torch.tensor([0, 2, -1]), lambda: [gallery], (1,))
    assert found[:2].tolist() == [1, 1]
    alone = sums(torch.eye(3), gallery.labels, lambda: [gallery], (1,), own=gallery.indices)
    assert alone[:2].tolist() == [2, 1], "the only one of its class has nothing to find"
