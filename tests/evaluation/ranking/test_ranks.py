import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reprise.evaluation.ranking import ranks, scores
from reprise.evaluation.ranking.ranks import rank, score_rows
from reprise.evaluation.ranking.scores import GivenScores, VectorScores
from reprise.evaluation.ranking.tiles import MISS
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.models.sparse_logits import SparseLogits


def counted(scores, targets, **options) -> list[tuple[int, int]]:
    found = rank(GivenScores(torch.tensor(scores)), torch.tensor(targets), **options)
    return list(zip(found.greater_N.tolist(), found.equal_N.tolist(), strict=True))


def test_higher_and_equal_scores_are_counted():
    """Target 3 scores 2: item 1 is above, item 2 equal, and it does not tie with itself."""
    assert counted([[5.0, 2.0, 2.0, -1.0]], [3]) == [(1, 1)]


def test_column_j_belongs_to_item_j_plus_one():
    assert counted([[9.0, 1.0, 5.0]] * 3, [1, 2, 3]) == [(0, 0), (2, 0), (1, 0)]


def test_a_cold_target_is_a_miss():
    """Three columns, target 4."""
    assert counted([[1.0, 2.0, 3.0]], [4]) == [(MISS, 0)]


def test_excluded_items_are_not_counted():
    """Of the two items above target 3, item 1 is excluded."""
    mask = lambda first, last: (torch.tensor([0]), torch.tensor([0]))  # noqa: E731
    assert counted([[9.0, 8.0, 7.0]], [3], mask=mask) == [(1, 0)]


def test_an_excluded_target_is_a_miss():
    mask = lambda first, last: (torch.tensor([0]), torch.tensor([2]))  # noqa: E731
    assert counted([[9.0, 8.0, 7.0]], [3], mask=mask) == [(MISS, 0)]


def test_given_scores_are_not_overwritten():
    score_NI = torch.tensor([[1.0, 2.0]])
    rank(GivenScores(score_NI), torch.tensor([1]))
    assert score_NI.tolist() == [[1.0, 2.0]]


def test_an_expanded_row_of_scores_is_accepted():
    """Popularity returns one row of memory for all targets."""
    found = rank(GivenScores(torch.tensor([[3.0, 2.0]]).expand(4, 2)), torch.tensor([1, 2, 1, 2]))
    assert found.greater_N.tolist() == [0, 1, 0, 1]


def test_no_targets_give_no_ranks():
    assert rank(GivenScores(torch.zeros(0, 3)), torch.zeros(0, dtype=torch.int64)).greater_N.tolist() == []


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make spans of at most 16 rows and tiles of about 32 columns."""
    monkeypatch.setitem(ranks.SCORES_PER_TILE, "cpu", 1)
    monkeypatch.setitem(ranks.COLUMNS_PER_TILE, "cpu", 32)


def whole_table(scores: VectorScores, target_N, mask=None) -> tuple[list[int], list[int]]:
    """Return ranks from the table of all scores. They are integers, so the order of a sum does not matter."""
    score_NI = scores.query_ND @ scores.vector_ID.T
    score_NI = scores.corrections.apply(score_NI)
    if mask is not None:
        score_NI[mask(0, len(target_N))] = -torch.inf
    own_N1 = score_NI.gather(1, (target_N - 1).clamp(max=scores.items - 1)[:, None])
    missed_N = (target_N > scores.items) | torch.isneginf(own_N1[:, 0])
    greater_N, equal_N = (score_NI > own_N1).sum(1), (score_NI == own_N1).sum(1) - 1
    return greater_N.masked_fill(missed_N, MISS).tolist(), equal_N.masked_fill(missed_N, 0).tolist()


def mask_of(row_P, column_P):
    """Return a mask of some pairs, which must be in the order of their rows."""

    def mask(first: int, last: int):
        here_P = (row_P >= first) & (row_P < last)
        return row_P[here_P] - first, column_P[here_P]

    return mask


@pytest.mark.parametrize("threads", [1, 3])
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(0, 300))
def test_ranks_do_not_depend_on_tiles_and_threads(
    small_tiles, threads: int, seed: int, items: int, rows: int
):
    """Integer vectors, so many ties; excluded items, several corrections of one score, cold targets."""
    generator = torch.Generator().manual_seed(seed)
    number = lambda high, *size: torch.randint(high, size, generator=generator)  # noqa: E731
    query_ND, vector_ID = number(3, rows, 4).float() - 1, number(5, items, 4).float() - 2
    row_P = number(max(rows, 1), 4 * rows).sort().values
    extra = SparseLogits(row_P, 1 + number(items, 4 * rows), number(3, 4 * rows).float())
    target_N = 1 + number(items + 2, rows)
    scores, mask = (
        VectorScores(query_ND, vector_ID, ScoreCorrections(extra)),
        mask_of(row_P, number(items, 4 * rows)),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = rank(scores, target_N, mask)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert (found.greater_N.tolist(), found.equal_N.tolist()) == whole_table(scores, target_N, mask)


def test_a_callback_receives_whole_rows(small_tiles):
    """50 rows are four spans; excluded items score -inf."""
    score_NI = torch.arange(50 * 100, dtype=torch.float32).view(50, 100)
    seen: list[torch.Tensor] = []
    mask = lambda first, last: (torch.arange(last - first), torch.arange(first, last))  # noqa: E731
    score_rows(GivenScores(score_NI), mask, lambda s_CI: seen.append(s_CI.clone()))
    assert [len(s_CI) for s_CI in seen] == [12, 13, 12, 13]
    score_NI[torch.arange(50), torch.arange(50)] = -torch.inf
    assert torch.equal(torch.cat(seen), score_NI)


@pytest.mark.parametrize("threads", [1, 3])
def test_top_k_lists_equal_those_of_the_whole_table(small_tiles, threads: int):
    """Few different scores, so many ties; the lists come in the order of the targets."""
    generator = torch.Generator().manual_seed(0)
    score_NI = torch.randint(6, (200, 333), generator=generator).float()
    hidden_N = torch.randint(333, (200,), generator=generator)
    mask = mask_of(torch.arange(200), hidden_N)
    seen = ListRecorder(5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rank(GivenScores(score_NI), torch.ones(200, dtype=torch.int64), mask, seen)
    finally:
        torch.set_num_threads(before)
    score_NI[torch.arange(200), hidden_N] = -torch.inf
    first_NK = score_NI.sort(dim=1, descending=True, stable=True).indices[:, :5]
    assert torch.cat(seen.columns).tolist() == first_NK.sort(1).values.tolist()


class ListRecorder:
    """Records the lists that it receives."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.columns: list[torch.Tensor] = []

    def receive(self, column_CK: torch.Tensor, s_CK: torch.Tensor) -> None:
        self.columns.append(column_CK)


def test_an_estimate_that_differs_in_the_last_bits_changes_nothing(small_tiles, monkeypatch):
    """A target's score is estimated before its tile is computed; if it differs, the span is counted again."""
    generator = torch.Generator().manual_seed(0)
    query_ND, vector_ID = torch.randn(20, 8, generator=generator), torch.randn(90, 8, generator=generator)
    target_N = torch.randint(1, 91, (20,), generator=generator)
    right = rank(VectorScores(query_ND, vector_ID), target_N)
    own = scores._Products.own
    monkeypatch.setattr(
        scores._Products, "own", lambda rows, target_C: own(rows, target_C).nextafter(query_ND[0, 0])
    )
    found = rank(VectorScores(query_ND, vector_ID), target_N)
    assert torch.equal(found.greater_N, right.greater_N) and torch.equal(found.equal_N, right.equal_N)


@pytest.mark.parametrize("rows", [1, 7, 40, 700])
@pytest.mark.parametrize("width", [16, 100, 128])
def test_equal_vectors_tie_at_any_distance(rows: int, width: int):
    """Every vector occurs twice, far apart: each target has at least one equal item, whatever the sum order of the products."""
    generator = torch.Generator().manual_seed(rows)
    vector_ID = torch.randn(1500, width, generator=generator).repeat(2, 1)
    target_N = torch.randint(1, 3001, (rows,), generator=generator)
    found = rank(VectorScores(torch.randn(rows, width, generator=generator), vector_ID), target_N)
    assert found.equal_N.min() >= 1


@settings(max_examples=50)
@given(st.data())
def test_ranks_equal_counts_in_plain_python(data):
    """Integer scores with many ties."""
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
def test_scores_are_compared_in_their_own_precision(dtype):
    """1 + 1e-12 is above 1 in float64 and equal to it in float32."""
    scores = torch.tensor([[1.0, 1.0 + 1e-12]], dtype=torch.float64).to(dtype)
    found = rank(GivenScores(scores), torch.tensor([1]))
    expected = (0, 1) if dtype == torch.float32 else (1, 0)
    assert (found.greater_N.item(), found.equal_N.item()) == expected


def test_corrections_are_added_to_the_scores(small_tiles) -> None:
    """Ranks equal those of the table of sums, with several corrections of one score."""
    torch.manual_seed(0)
    query_ND, vector_ID = torch.randn(40, 3), torch.randn(7, 3)
    row_P = torch.arange(40).repeat_interleave(4)
    extra = SparseLogits(row_P, torch.randint(1, 8, (160,)), torch.randn(160))
    score_NI = query_ND @ vector_ID.T
    score_NI.index_put_((row_P, extra.item_P - 1), extra.value_P, accumulate=True)
    target_N = torch.randint(1, 8, (40,))
    found = rank(VectorScores(query_ND, vector_ID, ScoreCorrections(extra)), target_N)
    assert torch.equal(found.greater_N, rank(GivenScores(score_NI), target_N).greater_N)
    without = rank(VectorScores(query_ND, vector_ID), target_N)
    assert not torch.equal(found.greater_N, without.greater_N)
