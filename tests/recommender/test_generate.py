from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from rich_model import random_history

from reprise.arrays import AnyArray, Float32Array
from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError
from reprise.recommender import Recommender, generate
from reprise.recommender.generate import DecodingOptions, Path, continue_state
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State


class MarkovChain(OnnxNetwork):
    """A Markov chain with the interface of a network: row j has the probabilities of the items after item index j."""

    def __init__(self, share_LI: Sequence[Sequence[float]]) -> None:
        log_LI = np.log(np.array(share_LI, dtype=np.float32))
        super().__init__(None, log_LI.T[:, :1], log_LI.T)  # type: ignore[arg-type]

    def advance(self, state: State, events: EventArrays) -> State:
        assert len(state["last"]) == len(events)
        return {"last": events.item.astype(np.float32)}

    def scores(self, state: State, now_s: float | AnyArray = np.nan) -> Float32Array:
        scores_BI: Float32Array = self.output_ID.T[state["last"].astype(int)]
        return scores_BI

    def fold(self, rows: Sequence[EventArrays]) -> State:
        return {"last": np.array([row.item[-1] if len(row) else 0 for row in rows], dtype=np.float32)}


def after_one(share_LI: Sequence[Sequence[float]], options: DecodingOptions, length: int) -> Path:
    """Return the continuation of item index 1 in a Markov chain."""
    popularity_I = np.full(len(share_LI[0]), 1 / len(share_LI[0]), dtype=np.float32)
    network = MarkovChain(share_LI)
    state = network.fold([EventArrays.of_items(np.array([1]))])
    return continue_state(network, state, True, length, options, popularity_I)


def log_softmax_after(shop: Recommender, histories: Sequence[Sequence[ItemId]]) -> list[dict[ItemId, float]]:
    """Return the log-probability of each item after each history, from recommendations of all items."""
    tables = []
    for result in shop.recommend_many(histories, k=shop.items.warm):
        score_I = np.array([one.score for one in result], dtype=np.float64)
        log_I = score_I - np.log(np.exp(score_I).sum())
        tables.append(dict(zip(result.item_ids, log_I.tolist(), strict=True)))
    return tables


def most_probable_path(
    shop: Recommender, history: list[str], length: int, no_repeat: bool
) -> tuple[list[str], float]:
    """Return the most probable path and its log-probability, by trying all paths."""
    names = [f"p{item}" for item in range(12)]
    prefixes = [list(prefix) for steps in range(length) for prefix in product(names, repeat=steps)]
    after = dict(
        zip(
            map(tuple, prefixes),
            log_softmax_after(shop, [history + prefix for prefix in prefixes]),
            strict=True,
        )
    )
    paths = [path for path in product(names, repeat=length) if not no_repeat or len(set(path)) == length]
    total = {path: sum(after[path[:at]][path[at]] for at in range(length)) for path in paths}
    best = max(total, key=lambda path: total[path])
    return list(best), total[best]


def test_temperature_zero_always_chooses_the_best_item(shop: Recommender) -> None:
    generated = shop.generate(["p3"], length=4, temperature=0, no_repeat=False)
    history = ["p3"]
    for item in generated:
        assert shop.recommend(history, k=1).item_ids == [item]
        history.append(str(item))


def test_the_same_seed_gives_the_same_items(shop: Recommender) -> None:
    assert shop.generate(["p3"], length=8, seed=4) == shop.generate(["p3"], length=8, seed=4)
    assert len({tuple(shop.generate(["p3"], length=8, seed=seed)) for seed in range(5)}) > 1


def test_without_repetition_all_items_are_generated_once(shop: Recommender) -> None:
    assert sorted(map(str, shop.generate(["p3"], length=12, seed=0))) == sorted(
        f"p{item}" for item in range(12)
    )


def test_a_top_k_of_one_always_gives_the_best_item(shop: Recommender) -> None:
    best = shop.recommend(["p3"], k=1).item_ids
    assert all(shop.generate(["p3"], length=1, top_k=1, seed=seed) == best for seed in range(10))


def test_samples_follow_the_softmax_of_the_scores(shop: Recommender) -> None:
    temperature, samples = 2.0, 2000
    scores = {one.item_id: one.score for one in shop.recommend(["p3"], k=12)}
    weight = {item: np.exp(score / temperature) for item, score in scores.items()}
    counts = Counter(
        shop.generate(["p3"], length=1, temperature=temperature, seed=seed)[0] for seed in range(samples)
    )
    for item in scores:
        share = weight[item] / sum(weight.values())
        assert counts[item] / samples == pytest.approx(share, abs=4 * np.sqrt(share / samples))


def test_without_a_history_the_first_item_is_sampled_by_popularity(shop: Recommender) -> None:
    shares = {one.item_id: one.score for one in shop.recommend([], k=12)}
    counts = Counter(shop.generate([], length=1, seed=seed)[0] for seed in range(2000))
    for item, share in shares.items():
        assert counts[item] / 2000 == pytest.approx(share, abs=4 * np.sqrt(share / 2000))


def test_with_repetition_a_continuation_can_be_longer_than_the_catalogue(shop: Recommender) -> None:
    assert len(shop.generate(["p3"], length=20, no_repeat=False, seed=0)) == 20


SHARES = [[0.5, 0.3, 0.15, 0.05]] * 5


@pytest.mark.parametrize(
    ("options", "nucleus"),
    [
        ({"top_p": 0.01}, {1}),
        ({"top_p": 0.49}, {1}),
        ({"top_p": 0.51}, {1, 2}),
        ({"top_p": 0.81}, {1, 2, 3}),
        ({"top_p": 0.96}, {1, 2, 3, 4}),
        ({"top_p": 1.0}, {1, 2, 3, 4}),
        # among the best two the first has 0.5 / 0.8
        ({"top_p": 0.6}, {1, 2}),
        ({"top_p": 0.6, "top_k": 2}, {1}),
        # a temperature of 0.5 gives squares: 0.25, 0.09, ..., of which the first has 0.68;
        # a temperature of 2 gives roots: 0.71, 0.55, ..., of which the first two have 0.67
        ({"top_p": 0.6, "temperature": 0.5}, {1}),
        ({"top_p": 0.7, "temperature": 1.0}, {1, 2}),
        ({"top_p": 0.7, "temperature": 2.0}, {1, 2, 3}),
    ],
)  # fmt: skip
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(
    options: dict[str, float], nucleus: set[int]
) -> None:
    path = after_one(SHARES, DecodingOptions(**options, no_repeat=False, seed=0), 400)  # type: ignore[arg-type]
    assert set(path.index_L) == nucleus


def test_probabilities_within_the_nucleus_keep_their_proportions() -> None:
    samples = 4000
    index_L = after_one(SHARES, DecodingOptions(top_p=0.9, no_repeat=False, seed=0), samples).index_L
    for index, share in ((1, 0.5 / 0.95), (2, 0.3 / 0.95), (3, 0.15 / 0.95)):
        assert index_L.count(index) / samples == pytest.approx(share, abs=4 * np.sqrt(share / samples))


def test_nucleus_and_top_k_keep_the_first_of_equal_items() -> None:
    equal = [[0.25] * 4] * 5
    assert set(after_one(equal, DecodingOptions(top_p=0.4, no_repeat=False, seed=0), 200).index_L) == {1, 2}
    assert set(after_one(equal, DecodingOptions(top_k=3, no_repeat=False, seed=0), 200).index_L) == {1, 2, 3}


def test_a_top_p_of_one_does_not_change_the_samples(shop: Recommender) -> None:
    assert shop.generate(["p3"], length=9, top_p=1.0, seed=2) == shop.generate(["p3"], length=9, seed=2)


def test_a_very_small_temperature_gives_the_best_item() -> None:
    assert after_one(SHARES, DecodingOptions(temperature=1e-320, seed=0), 4).index_L == [1, 2, 3, 4]


@pytest.mark.parametrize("options", [{"seed": 5, "temperature": 3.0}, {"seed": 5, "top_k": 2}, {"beams": 3}])
def test_log_probabilities_are_log_softmax_values(shop: Recommender, options: dict[str, int]) -> None:
    path = shop.generate(["p3"], length=4, **options)  # type: ignore[arg-type]
    after = log_softmax_after(shop, [["p3", *path[:at]] for at in range(4)])
    assert path.log_probabilities == pytest.approx(
        [after[at][item] for at, item in enumerate(path)], abs=1e-5
    )


@pytest.mark.parametrize("beams", [None, 5])
def test_without_a_history_the_first_log_probability_is_the_log_of_the_popularity(
    shop: Recommender, beams: int | None
) -> None:
    shares = {one.item_id: one.score for one in shop.recommend([], k=12)}
    path = shop.generate([], length=2, beams=beams)
    assert path.log_probabilities[0] == pytest.approx(np.log(shares[path[0]]), abs=1e-5)
    (second,) = log_softmax_after(shop, [[path[0]]])
    assert path.log_probabilities[1] == pytest.approx(second[path[1]], abs=1e-5)


@pytest.mark.parametrize("no_repeat", [True, False])
@pytest.mark.parametrize("history", [["p3"], ["p7", "p1", "p7"], ["p0", "p11"]])
def test_with_beams_for_every_path_the_most_probable_path_is_found(
    shop: Recommender, history: list[str], no_repeat: bool
) -> None:
    path = shop.generate(history, length=3, no_repeat=no_repeat, beams=12 * 12)
    best, total = most_probable_path(shop, history, 3, no_repeat)
    assert path == best
    assert sum(path.log_probabilities) == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("history", [[], ["p3"], ["p7", "p1", "p7"]])
@pytest.mark.parametrize("no_repeat", [True, False])
def test_one_beam_is_greedy(shop: Recommender, history: list[str], no_repeat: bool) -> None:
    beam = shop.generate(history, length=12, no_repeat=no_repeat, beams=1)
    greedy = shop.generate(history, length=12, no_repeat=no_repeat, temperature=0)
    assert beam == greedy
    assert beam.log_probabilities == pytest.approx(greedy.log_probabilities, abs=1e-6)


DETOUR = [[1 / 3] * 3, [0.1, 0.5, 0.4], [0.4, 0.3, 0.3], [0.02, 0.02, 0.96]]


def test_a_second_beam_finds_a_path_with_a_less_probable_first_item() -> None:
    """After item 1, item 2 is more probable, but the item after item 3 is almost certain: 0.4 x 0.96 > 0.5 x 0.4."""
    greedy = after_one(DETOUR, DecodingOptions(beams=1, no_repeat=False), 2)
    beam = after_one(DETOUR, DecodingOptions(beams=2, no_repeat=False), 2)
    assert (greedy.index_L, beam.index_L) == ([2, 1], [3, 3])
    assert np.exp(beam.log_probability_L) == pytest.approx([0.4, 0.96], abs=1e-6)


def test_paths_of_a_beam_search_have_no_repetition() -> None:
    """The path 3 3 is not allowed, and the other probabilities stay as they are: 0.5 x 0.4 > 0.4 x 0.02."""
    assert after_one(DETOUR, DecodingOptions(beams=2), 2).index_L == [2, 1]
    # six beams keep all orders of the three items; the most probable is 2 1 3: 0.5 x 0.4 x 0.4
    path = after_one(DETOUR, DecodingOptions(beams=6), 3)
    assert path.index_L == [2, 1, 3]
    assert np.exp(sum(path.log_probability_L)) == pytest.approx(0.5 * 0.4 * 0.4, abs=1e-6)


@pytest.mark.parametrize("beams", [1, 2, 5, 100])
def test_among_equally_probable_paths_the_first_in_index_order_is_found(beams: int) -> None:
    equal = [[0.25] * 4] * 5
    assert after_one(equal, DecodingOptions(beams=beams), 3).index_L == [1, 2, 3]
    assert after_one(equal, DecodingOptions(beams=beams, no_repeat=False), 3).index_L == [1, 1, 1]


@pytest.mark.parametrize("rows", [1, 3])
def test_beam_search_in_blocks_gives_the_same_path(
    shop: Recommender, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    whole = shop.generate(["p3", "p5"], length=5, beams=7)
    monkeypatch.setattr(generate, "MAX_SCORES", 12 * rows)
    blocks = shop.generate(["p3", "p5"], length=5, beams=7)
    assert blocks == whole
    assert blocks.log_probabilities == pytest.approx(whole.log_probabilities, abs=1e-6)


def test_beam_search_works_with_untied_vectors(counting_shop: Recommender) -> None:
    path = counting_shop.generate([4, 9], length=2, beams=30)
    ids = counting_shop.items.ids.tolist()
    first, *second = log_softmax_after(counting_shop, [[4, 9], *([4, 9, item] for item in ids)])
    total = {
        (one, two): first[one] + after[two]
        for one, after in zip(ids, second, strict=True)
        for two in ids
        if one != two
    }
    assert tuple(path) == max(total, key=lambda pair: total[pair])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, r"^temperature must be at least 0, got -1\.0$"),
        ({"temperature": float("nan")}, "^temperature must be a finite number, got nan$"),
        ({"top_k": 0}, "^top_k must be at least 1, got 0; None samples from all items$"),
        ({"top_k": 1.5}, r"^top_k must be a whole number, got 1\.5; None samples from all items$"),
        ({"top_p": 0.0}, r"^top_p must be above 0 and at most 1, got 0\.0; None samples from all items$"),
        ({"top_p": 1.01}, r"^top_p must be above 0 and at most 1, got 1\.01; None samples from all items$"),
        ({"top_p": float("nan")}, "^top_p must be a finite number, got nan$"),
        ({"seed": -1}, "^seed must be at least 0, got -1; None gives a different result in each call$"),
        ({"beams": 0}, "^beams must be at least 1, got 0; None samples instead of searching$"),
        ({"beams": True}, "^beams must be a whole number, got True; None samples instead of searching$"),
        ({"length": 0}, "^length must be at least 1, got 0$"),
        ({"length": 13}, "^length=13 is above the 12 items that can be chosen; choose a smaller length, or pass no_repeat=F"),
        ({"length": 13, "beams": 2}, "^length=13 is above the 12 items that can be chosen; choose a smaller length"),
        ({"beams": 2, "temperature": 0.5, "top_k": 3, "top_p": 0.5, "seed": 0}, "^beams=2 is for beam search, which does "
         "not use temperature, top_k, top_p, seed; leave out beams to sample, or leave out the other options to search$"),
        ({"beams": 2, "seed": 0}, "^beams=2 is for beam search, which does not use seed; leave out beams to sample"),
    ],
)  # fmt: skip
def test_options_out_of_range_are_errors(shop: Recommender, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.generate(["p3"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"temperature": 0}, {"beams": 1}])
def test_generated_items_are_read_without_time_and_value(
    rich_shop: Recommender, options: dict[str, int]
) -> None:
    history: list[Any] = list(random_history(4))
    for item in rich_shop.generate(history, length=4, no_repeat=False, **options):  # type: ignore[arg-type]
        assert rich_shop.recommend(history, k=1).item_ids == [item]
        history.append(item)
