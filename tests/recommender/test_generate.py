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
from reprise.recommender.generate import DecodingOptions, Path, continue_history
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State


class Table(OnnxNetwork):
    """A network whose next item depends on the last one alone: row j of the table has the shares after item index j."""

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


def after_one(share_LI: Sequence[Sequence[float]], choice: DecodingOptions, length: int) -> Path:
    """What follows item index 1 in a world of that table."""
    popularity_I = np.full(len(share_LI[0]), 1 / len(share_LI[0]), dtype=np.float32)
    return continue_history(
        Table(share_LI), EventArrays.of_items(np.array([1])), length, choice, popularity_I
    )


def log_softmax_after(shop: Recommender, histories: Sequence[Sequence[ItemId]]) -> list[dict[ItemId, float]]:
    """The logarithm of each item's probability after each history, by way of the ordinary answers."""
    tables = []
    for answer in shop.recommend_many(histories, k=shop.items.warm):
        score_I = np.array([one.score for one in answer], dtype=np.float64)
        log_I = score_I - np.log(np.exp(score_I).sum())
        tables.append(dict(zip(answer.item_ids, log_I.tolist(), strict=True)))
    return tables


def likeliest_of_all(
    shop: Recommender, history: list[str], length: int, no_repeat: bool
) -> tuple[list[str], float]:
    """Every path is tried."""
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


def test_with_repetition_a_continuation_may_be_longer_than_the_catalogue(shop: Recommender) -> None:
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
        # of the best two alone the first has 0.5 / 0.8
        ({"top_p": 0.6}, {1, 2}),
        ({"top_p": 0.6, "top_k": 2}, {1}),
        # the squares 0.25, 0.09, ... give the first 0.68; the roots 0.71, 0.55, ... give the first two 0.67
        ({"top_p": 0.6, "temperature": 0.5}, {1}),
        ({"top_p": 0.7, "temperature": 1.0}, {1, 2}),
        ({"top_p": 0.7, "temperature": 2.0}, {1, 2, 3}),
    ],
)  # fmt: skip
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(
    options: dict[str, float], nucleus: set[int]
) -> None:
    drawn = after_one(SHARES, DecodingOptions(**options, no_repeat=False, seed=0), 400)  # type: ignore[arg-type]
    assert set(drawn.index_L) == nucleus


def test_within_the_nucleus_the_shares_keep_their_proportions() -> None:
    draws = 4000
    drawn = after_one(SHARES, DecodingOptions(top_p=0.9, no_repeat=False, seed=0), draws).index_L
    for index, share in ((1, 0.5 / 0.95), (2, 0.3 / 0.95), (3, 0.15 / 0.95)):
        assert drawn.count(index) / draws == pytest.approx(share, abs=4 * np.sqrt(share / draws))


def test_of_equal_items_the_first_are_in_the_nucleus_and_in_the_top_k() -> None:
    equal = [[0.25] * 4] * 5
    assert set(after_one(equal, DecodingOptions(top_p=0.4, no_repeat=False, seed=0), 200).index_L) == {1, 2}
    assert set(after_one(equal, DecodingOptions(top_k=3, no_repeat=False, seed=0), 200).index_L) == {1, 2, 3}


def test_a_nucleus_of_everything_changes_no_draw(shop: Recommender) -> None:
    assert shop.generate(["p3"], length=9, top_p=1.0, seed=2) == shop.generate(["p3"], length=9, seed=2)


def test_at_a_tiny_temperature_the_best_is_drawn() -> None:
    assert after_one(SHARES, DecodingOptions(temperature=1e-320, seed=0), 4).index_L == [1, 2, 3, 4]


@pytest.mark.parametrize("options", [{"seed": 5, "temperature": 3.0}, {"seed": 5, "top_k": 2}, {"beams": 3}])
def test_the_log_probability_of_an_item_is_its_log_softmax_after_those_before(
    shop: Recommender, options: dict[str, int]
) -> None:
    path = shop.generate(["p3"], length=4, **options)  # type: ignore[arg-type]
    after = log_softmax_after(shop, [["p3", *path[:at]] for at in range(4)])
    assert path.log_probabilities == pytest.approx(
        [after[at][item] for at, item in enumerate(path)], abs=1e-5
    )


@pytest.mark.parametrize("beams", [None, 5])
def test_without_a_history_the_first_log_probability_is_that_of_its_popularity(
    shop: Recommender, beams: int | None
) -> None:
    shares = {one.item_id: one.score for one in shop.recommend([], k=12)}
    path = shop.generate([], length=2, beams=beams)
    assert path.log_probabilities[0] == pytest.approx(np.log(shares[path[0]]), abs=1e-5)
    (second,) = log_softmax_after(shop, [[path[0]]])
    assert path.log_probabilities[1] == pytest.approx(second[path[1]], abs=1e-5)


@pytest.mark.parametrize("no_repeat", [True, False])
@pytest.mark.parametrize("history", [["p3"], ["p7", "p1", "p7"], ["p0", "p11"]])
def test_with_room_for_every_path_beams_find_the_likeliest_of_all(
    shop: Recommender, history: list[str], no_repeat: bool
) -> None:
    path = shop.generate(history, length=3, no_repeat=no_repeat, beams=12 * 12)
    best, total = likeliest_of_all(shop, history, 3, no_repeat)
    assert path == best
    assert sum(path.log_probabilities) == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("history", [[], ["p3"], ["p7", "p1", "p7"]])
@pytest.mark.parametrize("no_repeat", [True, False])
def test_one_beam_always_takes_the_best(shop: Recommender, history: list[str], no_repeat: bool) -> None:
    beam = shop.generate(history, length=12, no_repeat=no_repeat, beams=1)
    greedy = shop.generate(history, length=12, no_repeat=no_repeat, temperature=0)
    assert beam == greedy
    assert beam.log_probabilities == pytest.approx(greedy.log_probabilities, abs=1e-6)


DETOUR = [[1 / 3] * 3, [0.1, 0.5, 0.4], [0.4, 0.3, 0.3], [0.02, 0.02, 0.96]]


def test_a_second_beam_finds_the_path_that_begins_with_a_worse_item() -> None:
    """After item 1, item 2 is the likelier one, but what follows item 3 is almost sure: 0.4 x 0.96 > 0.5 x 0.4."""
    greedy = after_one(DETOUR, DecodingOptions(beams=1, no_repeat=False), 2)
    beam = after_one(DETOUR, DecodingOptions(beams=2, no_repeat=False), 2)
    assert (greedy.index_L, beam.index_L) == ([2, 1], [3, 3])
    assert np.exp(beam.log_probability_L) == pytest.approx([0.4, 0.96], abs=1e-6)


def test_each_path_of_a_search_is_without_repetition() -> None:
    """3 then 3 is forbidden, and its 0.96 is not shared out: 0.5 x 0.4 > 0.4 x 0.02."""
    assert after_one(DETOUR, DecodingOptions(beams=2), 2).index_L == [2, 1]
    # three items have no fourth; with all six orders at hand the likeliest is 2 1 3: 0.5 x 0.4 x 0.4
    path = after_one(DETOUR, DecodingOptions(beams=6), 3)
    assert path.index_L == [2, 1, 3]
    assert np.exp(sum(path.log_probability_L)) == pytest.approx(0.5 * 0.4 * 0.4, abs=1e-6)


@pytest.mark.parametrize("beams", [1, 2, 5, 100])
def test_of_equally_likely_paths_the_first_in_index_order_is_found(beams: int) -> None:
    equal = [[0.25] * 4] * 5
    assert after_one(equal, DecodingOptions(beams=beams), 3).index_L == [1, 2, 3]
    assert after_one(equal, DecodingOptions(beams=beams, no_repeat=False), 3).index_L == [1, 1, 1]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_search_in_parts_is_the_search_in_one(
    shop: Recommender, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    whole = shop.generate(["p3", "p5"], length=5, beams=7)
    monkeypatch.setattr(generate, "BLOCK", 12 * rows)
    parts = shop.generate(["p3", "p5"], length=5, beams=7)
    assert parts == whole
    assert parts.log_probabilities == pytest.approx(whole.log_probabilities, abs=1e-6)


def test_a_search_reads_vectors_that_are_not_the_ones_that_score(counting_shop: Recommender) -> None:
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
        ({"temperature": float("nan")}, "^temperature must be at least 0, got nan$"),
        ({"top_k": 0}, "^top_k must be at least 1, got 0; None draws from all items$"),
        ({"top_k": 1.5}, r"^top_k must be a whole number, got 1\.5; None draws from all items$"),
        ({"top_p": 0.0}, r"^top_p must be above 0 and at most 1, got 0\.0; None draws from all items$"),
        ({"top_p": 1.01}, r"^top_p must be above 0 and at most 1, got 1\.01; None draws from all items$"),
        ({"top_p": float("nan")}, "^top_p must be above 0 and at most 1, got nan; None draws from all items$"),
        ({"seed": -1}, "^seed must be at least 0, got -1; None draws anew each time$"),
        ({"beams": 0}, "^beams must be at least 1, got 0; None draws instead of searching$"),
        ({"beams": True}, "^beams must be a whole number, got True; None draws instead of searching$"),
        ({"length": 0}, "^length must be at least 1, got 0$"),
        ({"length": 13}, "^length=13 is above the 12 items that can be chosen; ask for fewer, or pass no_repeat=False$"),
        ({"length": 13, "beams": 2}, "^length=13 is above the 12 items that can be chosen; ask for fewer"),
        ({"beams": 2, "temperature": 0.5, "top_k": 3, "top_p": 0.5, "seed": 0}, "^beams=2 searches for the likeliest path "
         "and draws nothing, so temperature, top_k, top_p, seed would mean nothing; leave out one or the other$"),
        ({"beams": 2, "seed": 0}, "^beams=2 searches for the likeliest path and draws nothing, so seed would mean nothing"),
    ],
)  # fmt: skip
def test_impossible_options(shop: Recommender, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.generate(["p3"], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"temperature": 0}, {"beams": 1}])
def test_what_is_chosen_is_read_without_time_and_value_and_is_counted(
    rich_shop: Recommender, options: dict[str, int]
) -> None:
    history: list[Any] = list(random_history(4))
    for item in rich_shop.generate(history, length=4, no_repeat=False, **options):  # type: ignore[arg-type]
        assert rich_shop.recommend(history, k=1).item_ids == [item]
        history.append(item)
