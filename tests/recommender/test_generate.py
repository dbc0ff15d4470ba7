from collections import Counter

import numpy as np
import pytest

from reprise.errors import ConfigError
from reprise.recommender import Recommender


def test_at_temperature_zero_each_item_is_the_best_after_the_ones_before(shop: Recommender) -> None:
    drawn = shop.generate(["p3"], length=4, temperature=0, no_repeat=False)
    history = ["p3"]
    for item in drawn:
        assert shop.recommend(history, k=1).item_ids == [item]
        history.append(str(item))


def test_the_same_seed_draws_the_same_items(shop: Recommender) -> None:
    assert shop.generate(["p3"], length=8, seed=4) == shop.generate(["p3"], length=8, seed=4)
    assert len({tuple(shop.generate(["p3"], length=8, seed=seed)) for seed in range(5)}) > 1


def test_without_repetition_the_whole_catalogue_is_a_permutation(shop: Recommender) -> None:
    assert sorted(map(str, shop.generate(["p3"], length=12, seed=0))) == sorted(
        f"p{item}" for item in range(12)
    )


def test_with_a_top_k_of_one_the_best_is_always_drawn(shop: Recommender) -> None:
    best = shop.recommend(["p3"], k=1).item_ids
    assert all(shop.generate(["p3"], length=1, top_k=1, seed=seed) == best for seed in range(10))


def test_draws_follow_the_softmax_of_the_scores(shop: Recommender) -> None:
    temperature, draws = 2.0, 2000
    scores = {one.item_id: one.score for one in shop.recommend(["p3"], k=12)}
    weight = {item: np.exp(score / temperature) for item, score in scores.items()}
    counts = Counter(
        shop.generate(["p3"], length=1, temperature=temperature, seed=seed)[0] for seed in range(draws)
    )
    for item in scores:
        share = weight[item] / sum(weight.values())
        assert counts[item] / draws == pytest.approx(share, abs=4 * np.sqrt(share / draws))


def test_without_a_history_the_first_item_is_drawn_by_popularity(shop: Recommender) -> None:
    shares = {one.item_id: one.score for one in shop.recommend([], k=12)}
    counts = Counter(shop.generate([], length=1, seed=seed)[0] for seed in range(2000))
    for item, share in shares.items():
        assert counts[item] / 2000 == pytest.approx(share, abs=4 * np.sqrt(share / 2000))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, r"^temperature must be at least 0, got -1\.0$"),
        ({"temperature": float("nan")}, "^temperature must be at least 0, got nan$"),
        ({"top_k": 0}, "^top_k must be at least 1, got 0; None draws from all items$"),
        ({"length": 0}, "^length must be at least 1, got 0$"),
        ({"length": 13}, "^length=13 is above the catalogue of 12 items; ask for fewer, or pass no_repeat=False$"),
    ],
)  # fmt: skip
def test_impossible_options(shop: Recommender, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.generate(["p3"], **options)  # type: ignore[arg-type]


def test_with_repetition_a_continuation_may_be_longer_than_the_catalogue(shop: Recommender) -> None:
    assert len(shop.generate(["p3"], length=20, no_repeat=False, seed=0)) == 20
