from math import sqrt

import numpy as np
import pytest
import torch
from scipy import sparse

from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.item_knn import ItemKNN, nearest_items
from reprise.models.counts.session_matrix import TIE_BREAK_SCALE
from reprise.testing.worlds import cycle, noise, world


@pytest.fixture
def small():
    """Sessions a b, a b c, c d and b d d; items a 2, b 3, c 2, d 2 sessions."""
    return world([list("abx"), list("abcx"), list("cdx"), list("bddx")], valid=0, test=1)


def similarity_scores(dataset, spec, *window):
    """Return the scores by item name, without the tie-break."""
    model = spec.fit(dataset)
    index = [dataset.items.index(item) for item in window][-model.window :]
    recent = torch.tensor([[0] * (model.window - len(index)) + index])
    found = model.score_windows(recent)[0] - model._tie_I
    return {
        name: float(found[dataset.items.index(name) - 1]) for name in dataset.items.ids[: dataset.items.warm]
    }


def test_scores_match_the_formula(small):
    """cos(a, b) = 2 / sqrt((2 + 1)(3 + 1)), and the item before the last weighs half."""
    spec = ItemKNN(shrinkage=1, decay=0.5, repeat_weight=0.0)
    ab, ac, bc, bd = (
        2 / sqrt((2 + 1) * (3 + 1)),
        1 / sqrt((2 + 1) * (2 + 1)),
        1 / sqrt((3 + 1) * (2 + 1)),
        1 / sqrt((3 + 1) * (2 + 1)),
    )
    assert similarity_scores(small, spec, "a") == pytest.approx({"a": 0, "b": ab, "c": ac, "d": 0}, abs=1e-6)
    assert similarity_scores(small, spec, "a", "b") == pytest.approx(
        {"a": ab, "b": 0.5 * ab, "c": bc + 0.5 * ac, "d": bd}, abs=1e-6
    )


def test_window_of_one_is_the_item_knn_of_hidasi(small):
    spec = ItemKNN(window=1, repeat_weight=0.0)
    assert similarity_scores(small, spec, "a", "b")["c"] == pytest.approx(
        1 / sqrt((3 + 20) * (2 + 20)), abs=1e-6
    )


def test_repeat_weight_is_the_similarity_of_an_item_to_itself(small):
    assert similarity_scores(small, ItemKNN(repeat_weight=0.7), "c")["c"] == pytest.approx(0.7, abs=1e-6)
    # by default three times the share of repeats: one of ten events repeats an item of its session
    assert similarity_scores(small, ItemKNN(), "c")["c"] == pytest.approx(3 * 1 / 10, abs=1e-6)


def test_ties_are_broken_by_popularity(small):
    model = ItemKNN().fit(small)
    shares = torch.tensor([small.table["count"].to_pylist()])[:, :4] / 10
    torch.testing.assert_close(model.scores(model.initial_state(1)), shares * TIE_BREAK_SCALE)


def test_only_the_k_nearest_items_are_kept():
    """Compare with the dense matrix."""
    has = sparse.random_array((60, 12), density=0.3, rng=np.random.default_rng(0), dtype=np.float32).tocsr()
    has.data[:] = 1
    count = (has.T @ has).toarray()
    total = count.diagonal()
    whole = count / np.sqrt((total[:, None] + 2) * (total + 2))
    np.fill_diagonal(whole, 0)
    found = nearest_items(has, 2.0, k=3).toarray()
    for kept, row in zip(found, whole, strict=True):
        assert np.count_nonzero(kept) == min(3, np.count_nonzero(row))
        np.testing.assert_allclose(np.sort(kept)[-3:], np.sort(row)[-3:], rtol=1e-6)
        np.testing.assert_allclose(kept[kept > 0], row[kept > 0], rtol=1e-6)


def test_chunk_size_does_not_change_the_scores(monkeypatch):
    """Chunks of the item matrix and chunks of targets."""
    dataset = noise(items=20, sequences=40)
    windows = torch.randint(0, 20, (30, 10), generator=torch.Generator().manual_seed(0))
    whole = ItemKNN(neighbours=5).fit(dataset).score_windows(windows)
    monkeypatch.setattr("reprise.models.counts.session_matrix.PAIRS_PER_CHUNK", 60)
    torch.testing.assert_close(
        ItemKNN(neighbours=5).fit(dataset).score_windows(windows), whole, rtol=0, atol=0
    )


def test_item_knn_learns_a_cycle():
    """With sessions of 2 events the only similar items are the previous and the next one."""
    dataset = cycle(items=12)
    report = evaluate(ItemKNN(length=2, repeat_weight=0.0, window=1).fit(dataset), dataset, at=(2,))
    assert report.metrics["recall@2"].value == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay": 0}, "decay must be above 0, got 0"),
        ({"decay": 1.5}, "decay must be at most 1, got 1.5"),
        ({"length": 1}, "length must be at least 2, got 1"),
        ({"neighbors": 3}, "unknown field 'neighbors'; did you mean 'neighbours'?"),
    ],
)
def test_fields_out_of_range_are_rejected(fields, message):
    with pytest.raises(ConfigError) as error:
        ItemKNN(**fields)
    assert str(error.value) == message


def test_empty_training_part_is_an_error():
    with pytest.raises(DataError, match="the training part is empty, there is nothing to count"):
        ItemKNN().fit(world([list("ab")], valid=0, test=2))
