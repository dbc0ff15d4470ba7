import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.evaluation import ranks
from reprise.evaluation.ranks import MISS, GivenScores, VectorScores, rank
from reprise.models.items import SparseLogits


def counted(scores, targets, **options) -> list[tuple[int, int]]:
    found = rank(GivenScores(torch.tensor(scores)), torch.tensor(targets), **options)
    return list(zip(found.greater_N.tolist(), found.equal_N.tolist(), strict=True))


def test_higher_and_equal_are_counted():
    """Target 3 scores 2: item 1 is above, item 2 equal, and it does not tie with itself."""
    assert counted([[5.0, 2.0, 2.0, -1.0]], [3]) == [(1, 1)]


def test_column_j_is_item_j_plus_one():
    assert counted([[9.0, 1.0, 5.0]] * 3, [1, 2, 3]) == [(0, 0), (2, 0), (1, 0)]


def test_a_cold_target_is_a_miss():
    """Three columns, target 4."""
    assert counted([[1.0, 2.0, 3.0]], [4]) == [(MISS, 0)]


def test_hidden_items_are_no_candidates():
    """Of the items above target 3, item 1 is hidden."""
    hide = lambda first, last: (torch.tensor([0]), torch.tensor([0]))  # noqa: E731
    assert counted([[9.0, 8.0, 7.0]], [3], hide=hide) == [(1, 0)]


def test_a_hidden_target_is_a_miss():
    hide = lambda first, last: (torch.tensor([0]), torch.tensor([2]))  # noqa: E731
    assert counted([[9.0, 8.0, 7.0]], [3], hide=hide) == [(MISS, 0)]


def test_given_scores_are_not_written_over():
    score_NI = torch.tensor([[1.0, 2.0]])
    rank(GivenScores(score_NI), torch.tensor([1]))
    assert score_NI.tolist() == [[1.0, 2.0]]


def test_one_row_of_memory_for_all_is_accepted():
    """Popularity returns an expanded row."""
    found = rank(GivenScores(torch.tensor([[3.0, 2.0]]).expand(4, 2)), torch.tensor([1, 2, 1, 2]))
    assert found.greater_N.tolist() == [0, 1, 0, 1]


def test_no_targets():
    assert rank(GivenScores(torch.zeros(0, 3)), torch.zeros(0, dtype=torch.int64)).greater_N.tolist() == []


def test_chunks_change_nothing(monkeypatch):
    """Rows are ranked 16 at a time at the least; 50 rows are then four chunks, the last one short."""
    generator = torch.Generator().manual_seed(0)
    query_ND, vector_ID = torch.randn(50, 4, generator=generator), torch.randn(30, 4, generator=generator)
    target_N = torch.randint(1, 33, (50,), generator=generator)
    hidden = torch.randint(0, 30, (50,), generator=generator)
    hide = lambda first, last: (torch.arange(last - first), hidden[first:last])  # noqa: E731
    seen: list[int] = []
    whole = rank(VectorScores(query_ND, vector_ID), target_N, hide)
    monkeypatch.setitem(ranks.SCORES_AT_ONCE, "cpu", 1)
    cut = rank(VectorScores(query_ND, vector_ID), target_N, hide, lambda s_CI: seen.append(len(s_CI)))
    assert seen == [16, 16, 16, 2]
    assert cut.greater_N.tolist() == whole.greater_N.tolist()
    assert cut.equal_N.tolist() == whole.equal_N.tolist()


@settings(max_examples=50)
@given(st.data())
def test_ranks_equal_a_sort(data):
    """Integer scores with many ties, against counting in plain Python."""
    items, rows = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 6))
    score = st.integers(-2, 2)
    scores = data.draw(
        st.lists(st.lists(score, min_size=items, max_size=items), min_size=rows, max_size=rows)
    )
    targets = data.draw(st.lists(st.integers(1, items), min_size=rows, max_size=rows))
    expected = [
        (sum(s > row[target - 1] for s in row), sum(s == row[target - 1] for s in row) - 1)
        for row, target in zip(scores, targets, strict=True)
    ]
    assert counted(np.array(scores, dtype=np.float32).tolist(), targets) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_float_types(dtype):
    """1 + 1e-12 is above 1 in float64 and equal to it in float32."""
    scores = torch.tensor([[1.0, 1.0 + 1e-12]], dtype=torch.float64).to(dtype)
    found = rank(GivenScores(scores), torch.tensor([1]))
    expected = (0, 1) if dtype == torch.float32 else (1, 0)
    assert (found.greater_N.item(), found.equal_N.item()) == expected


def test_additions_are_part_of_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and additions in chunks rank as the table of their sums does, several additions of one place together."""
    monkeypatch.setitem(ranks.SCORES_AT_ONCE, "cpu", 1)
    torch.manual_seed(0)
    query_ND, vector_ID = torch.randn(40, 3), torch.randn(7, 3)
    row_P = torch.arange(40).repeat_interleave(4)
    extra = SparseLogits(row_P, torch.randint(1, 8, (160,)), torch.randn(160))
    score_NI = query_ND @ vector_ID.T
    score_NI.index_put_((row_P, extra.item_P - 1), extra.value_P, accumulate=True)
    target_N = torch.randint(1, 8, (40,))
    found = rank(VectorScores(query_ND, vector_ID, extra), target_N)
    assert torch.equal(found.greater_N, rank(GivenScores(score_NI), target_N).greater_N)
    without = rank(VectorScores(query_ND, vector_ID), target_N)
    assert not torch.equal(found.greater_N, without.greater_N)
