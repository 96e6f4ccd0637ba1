"""Projection head, prototypes and classifier."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

from pipeline.models.heads import Classifier, ProjectionHead, Prototypes
from tests.distributed import on_processes


def test_keys_of_a_projection_head_are_those_of_vissl() -> None:
    linear = [key.split(".")[0] for key, p in ProjectionHead(8, (6, 6), 4).named_parameters() if p.ndim == 2]
    assert linear == ["0", "3", "6"]
    bare = ProjectionHead(8, (6, 6), 4, batch_norm=False)
    assert [key.split(".")[0] for key, p in bare.named_parameters() if p.ndim == 2] == ["0", "2", "4"]
    assert bare(torch.zeros(3, 8)).shape == (3, 4)
    assert [type(layer).__name__ for layer in ProjectionHead(8, (), 4)] == ["Linear"]


def test_prototypes_start_as_unit_vectors_and_stay_so_when_normalised() -> None:
    prototypes = Prototypes(5, 7)
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(7))
    with torch.no_grad():
        prototypes.weight.mul_(3)
    expected = F.normalize(prototypes.weight.detach(), dim=1)
    prototypes.normalise_()
    torch.testing.assert_close(prototypes.weight.detach(), expected)


def test_scores_are_fp32_cosines_also_under_autocast() -> None:
    prototypes, embeddings = Prototypes(64, 9), F.normalize(torch.randn(4, 64), dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        scores = prototypes(embeddings)
    assert scores.dtype == torch.float32
    expected = F.cosine_similarity(embeddings[:, None], prototypes.weight[None], dim=2)
    torch.testing.assert_close(scores, expected)


def sharded_prototypes(rank: int, world: int, weight: Tensor) -> Tensor:
    prototypes = Prototypes(weight.shape[1], len(weight))
    with torch.no_grad():
        prototypes.weight.copy_(weight)
    fully_shard(prototypes, mesh=init_device_mesh("cpu", (world,)))
    prototypes.normalise_()
    return prototypes.weight.full_tensor().detach()


@pytest.mark.parametrize("world", [2, 4])
def test_sharded_prototypes_are_normalised_where_their_rows_are_even_where_a_process_has_none(world: int) -> None:
    weight = torch.randn(5, 3) * 4
    for found in on_processes(sharded_prototypes, world, weight):
        torch.testing.assert_close(found, F.normalize(weight, dim=1))


def test_sixteen_thousand_prototypes_and_several_sets_of_them() -> None:
    sets = nn.ModuleList(Prototypes(8, rows) for rows in (16000, 30, 30))
    embeddings = F.normalize(torch.randn(4, 8), dim=1)
    scores = [prototypes(embeddings) for prototypes in sets]
    assert [s.shape for s in scores] == [(4, 16000), (4, 30), (4, 30)]
    assert all(s.abs().max() <= 1 + 1e-6 for s in scores)
    assert not torch.equal(scores[1], scores[2])


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_projection_head_is_its_layers_in_fp32_whatever_autocast_asks_for(batch_norm: bool) -> None:
    head = ProjectionHead(6, (7, 5), 4, batch_norm=batch_norm)
    features = torch.randn(9, 6)
    expected = features
    linear = [layer for layer in head if isinstance(layer, nn.Linear)]
    for layer in linear[:-1]:
        expected = expected @ layer.weight.T + layer.bias
        if batch_norm:
            expected = (expected - expected.mean(0)) / (expected.var(0, correction=0) + 1e-5).sqrt()
        expected = expected.clamp_min(0)
    expected = expected @ linear[-1].weight.T + linear[-1].bias
    with torch.autocast("cpu", torch.bfloat16):
        found = head(features)
    torch.testing.assert_close(found, expected)


def test_an_untrained_classifier_finds_every_class_about_equally_likely() -> None:
    torch.manual_seed(0)
    loss = F.cross_entropy(Classifier(64, 10)(torch.randn(256, 64)), torch.randint(10, (256,)))
    assert abs(loss.item() - math.log(10)) < 0.05
