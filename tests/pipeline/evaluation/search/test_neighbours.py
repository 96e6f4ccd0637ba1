"""The search against a sort of all similarities, against faiss, and in chunks and blocks of every size."""

from __future__ import annotations

import faiss
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pipeline.evaluation.features import Features
from pipeline.evaluation.search.knn import in_chunks
from pipeline.evaluation.search.neighbours import BLOCK, best, nearest


def bank_of(rows: int, width: int = 16) -> Features:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(rows, width, generator=draw)
    return Features(values, torch.randint(0, 5, (rows,), generator=draw), torch.arange(rows) * 3 + 1)


def queries_of(count: int, width: int = 16) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rows", [7, 100, 1000, 10_000])
def test_neighbours_are_the_first_of_all_sorted(rows: int) -> None:
    bank, queries = bank_of(rows), queries_of(40)
    cosines = F.normalize(queries.double(), dim=1) @ F.normalize(bank.features.double(), dim=1).T
    order = cosines.argsort(1, descending=True)[:, :7]
    found = nearest(queries, in_chunks(bank, 3000), 7)
    assert torch.equal(found.indices, bank.indices[order])
    assert torch.equal(found.labels, bank.labels[order])
    torch.testing.assert_close(found.similarity, cosines.gather(1, order).float())


def test_faiss_finds_the_same_neighbours() -> None:
    bank, queries = bank_of(5000, 32), queries_of(700, 32)
    index = faiss.IndexFlatIP(32)
    index.add(F.normalize(bank.features, dim=1).numpy())
    similarity, places = index.search(F.normalize(queries, dim=1).numpy(), 20)
    found = nearest(queries, in_chunks(bank), 20)
    assert torch.equal(found.indices, bank.indices[torch.from_numpy(places)])
    torch.testing.assert_close(found.similarity, torch.from_numpy(similarity))


@pytest.mark.parametrize("rows", [1, 999, 4096])
def test_chunks_change_nothing_but_the_last_bits(rows: int) -> None:
    bank, queries = bank_of(4096), queries_of(30)
    whole, cut = nearest(queries, [bank], 12), nearest(queries, in_chunks(bank, rows), 12)
    assert torch.equal(whole.indices, cut.indices)
    torch.testing.assert_close(whole.similarity, cut.similarity)


def test_a_block_of_queries_is_the_same_to_the_bit_alone() -> None:
    bank, queries = bank_of(3000), queries_of(2 * BLOCK + 9)
    whole = nearest(queries, in_chunks(bank), 5)
    parts = [nearest(part, in_chunks(bank), 5) for part in queries.split(BLOCK)]
    for together, alone in zip(whole, map(torch.cat, zip(*parts, strict=True)), strict=True):
        assert torch.equal(together, alone)


def test_a_query_is_not_its_own_neighbour() -> None:
    bank = bank_of(500)
    chosen = torch.tensor([3, 17, 499])
    own = bank.indices[chosen].clone()
    own[1] = -1
    found = nearest(bank.features[chosen], in_chunks(bank, 90), 4, own=own)
    assert found.indices[:, 0].tolist()[1] == int(bank.indices[17])
    assert not (found.indices[[0, 2]] == own[[0, 2]].unsqueeze(1)).any()
    longer = nearest(bank.features[chosen], in_chunks(bank, 90), 5)
    assert torch.equal(found.indices[[0, 2]], longer.indices[[0, 2], 1:])


def test_a_bank_smaller_than_k_leaves_places_empty() -> None:
    found = nearest(queries_of(3), [bank_of(2), bank_of(0)], 5)
    assert found.indices[:, 2:].eq(-1).all()
    assert found.similarity[:, 2:].eq(-torch.inf).all()
    assert nearest(queries_of(0), [bank_of(2)], 5).indices.shape == (0, 5)


@settings(max_examples=60, deadline=None)
@given(k=st.integers(1, 12), columns=st.integers(12, 3000), seed=st.integers(0, 99), spread=st.sampled_from([2, 1000]))
def test_the_best_of_a_row_are_those_of_topk(k: int, columns: int, seed: int, spread: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(-spread, spread, (3, columns), generator=draw).float()  # with many equal ones
    ours, places = best(values, k)
    assert torch.equal(ours, values.topk(k, 1).values)
    assert torch.equal(values.gather(1, places), ours)
    assert all(len(set(row)) == k for row in places.tolist())
    bound = values.sort(1).values[:, -k - 1 : -k] if columns > k else None
    if bound is not None:
        fewer, _ = best(values, k, bound)
        assert fewer.shape[1] <= k
        for row, found, least in zip(ours.tolist(), fewer.tolist(), bound.flatten().tolist(), strict=True):
            assert [value for value in found if value > least] == [value for value in row if value > least]
