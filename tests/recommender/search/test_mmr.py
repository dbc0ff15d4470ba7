from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.errors import ConfigError
from reprise.recommender import Recommender
from reprise.recommender.search.mmr import diversify, shortlist_size


def by_hand(index_S: Any, score_S: Any, vectors_ID: Any, k: int, diversity: float) -> list[int]:
    """Compute the formula item by item."""
    relevance = dict(zip(index_S, (score_S - min(score_S)) / (max(score_S) - min(score_S)), strict=True))

    def cosine(one: int, other: int) -> float:
        a, b = vectors_ID[one - 1], vectors_ID[other - 1]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    chosen: list[int] = []
    while len(chosen) < k:
        left = [item for item in index_S if item not in chosen]
        gains = [
            (1 - diversity) * relevance[item]
            - (diversity * max(cosine(item, other) for other in chosen) if chosen else 0)
            for item in left
        ]
        chosen.append(int(left[int(np.argmax(gains))]))
    return chosen


@pytest.mark.parametrize("diversity", [0.0, 0.1, 0.5, 0.9])
def test_each_chosen_item_has_the_largest_marginal_relevance(diversity: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        vectors_ID = generator.normal(size=(30, 4)).astype(np.float32)
        index_S = generator.permutation(30)[:20] + 1
        score_S = -np.sort(-generator.normal(size=20)).astype(np.float32)
        index_k, score_k = diversify(index_S, score_S, vectors_ID[index_S - 1], 8, diversity)
        assert index_k.tolist() == by_hand(index_S, score_S, vectors_ID, 8, diversity)
        scores = dict(zip(index_S.tolist(), score_S.tolist(), strict=True))
        assert score_k.tolist() == [scores[index] for index in index_k.tolist()]


def test_an_item_equal_to_a_chosen_one_is_ranked_lower() -> None:
    """Items 1 and 2 are equal, item 3 is orthogonal: relevance 1, 0.9 and 0.5 minus d times a cosine of 0, 1 and 0."""
    vectors_ID = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    index_S, score_S = np.array([1, 2, 3, 4]), np.array([10.0, 9.0, 5.0, 0.0], dtype=np.float32)
    assert diversify(index_S, score_S, vectors_ID[index_S - 1], 4, 0.0)[0].tolist() == [1, 2, 3, 4]
    assert diversify(index_S, score_S, vectors_ID[index_S - 1], 2, 0.5)[0].tolist() == [1, 4]
    assert diversify(index_S, score_S, vectors_ID[index_S - 1], 2, 0.3)[0].tolist() == [1, 3]
    assert diversify(index_S, score_S, vectors_ID[index_S - 1], 2, 0.2)[0].tolist() == [1, 2]


def test_empty_places_equal_scores_and_zero_vectors_are_accepted() -> None:
    vectors_ID = np.zeros((3, 2), dtype=np.float32)
    index_S, score_S = np.array([2, 3, 0, 0]), np.array([1, 1, -np.inf, -np.inf], dtype=np.float32)
    index_k, score_k = diversify(index_S, score_S, vectors_ID[index_S - 1], 3, 0.7)
    assert (index_k.tolist(), score_k.tolist()) == ([2, 3], [1, 1])
    assert len(diversify(index_S[2:], score_S[2:], vectors_ID[index_S[2:] - 1], 3, 0.7)[0]) == 0


def test_the_shortlist_is_at_most_the_catalogue() -> None:
    assert [shortlist_size(k, 1000) for k in (1, 10, 11, 300)] == [50, 50, 55, 1000]


def test_a_diversity_of_zero_gives_the_plain_ranking(shop: Recommender) -> None:
    assert shop.recommend(["p1", "p2"], 5, diversity=0) == shop.recommend(["p1", "p2"], 5)


@pytest.mark.parametrize("history", [[3, 4], []])
def test_diverse_results_are_the_same_in_memory_from_disk_in_bulk_and_in_a_session(
    counting_shop: Recommender, history: list[int], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"k": 6, "deny": [5], "filter": {"count": {"min": 1}}, "diversity": 0.6}
    result = counting_shop.recommend(history, **options)
    session = counting_shop.session()
    for item in history:
        session.add(item)
    assert session.recommend(**options) == result
    assert counting_shop.recommend_many([[9], history], **options)[1].item_ids == result.item_ids
    counting_shop.save(tmp_path / "m")
    assert Recommender.load(tmp_path / "m").recommend(history, **options) == result
    plain = counting_shop.recommend(history, k=30)
    assert result.item_ids != plain.item_ids[:6]
    assert result[0].item_id == plain[0].item_id
    assert [one.rank for one in result] == list(range(1, 7))
    scores = {one.item_id: one.score for one in plain}
    assert all(one.score == pytest.approx(scores[one.item_id], abs=1e-6) for one in result)


def test_more_diversity_gives_less_similar_items(counting_shop: Recommender) -> None:
    network = counting_shop.ranker.network

    def mean_cosine(items: list[Any]) -> float:
        vectors = network.input_ID[[counting_shop.items.index(item) - 1 for item in items]]
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return float((unit @ unit.T).mean())

    means = [
        np.mean([mean_cosine(counting_shop.recommend([item], 5, diversity=d).item_ids) for item in range(30)])
        for d in (0, 0.5, 1)
    ]
    assert means[0] > means[1] > means[2]


def test_diversity_does_not_reduce_the_number_of_items(shop: Recommender) -> None:
    for diversity in (0.4, 1):
        assert len(shop.recommend(["p1"], 12, diversity=diversity)) == 12
        few = shop.recommend(["p1"], 5, allow=["p1", "p2", "p3"], diversity=diversity)
        assert sorted(map(str, few.item_ids)) == ["p1", "p2", "p3"]


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan"), "much", True, None])
def test_a_diversity_out_of_range_is_an_error(shop: Recommender, wrong: Any) -> None:
    message = rf"^diversity must be a number from 0 \(the plain ranking\) to 1, got {wrong!r}$"
    with pytest.raises(ConfigError, match=message):
        shop.recommend(["p1"], 3, diversity=wrong)
    with pytest.raises(ConfigError, match=message):
        shop.session().recommend(3, diversity=wrong)
