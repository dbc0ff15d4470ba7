"""Options of a request are checked for their types and ranges, and an invalid one is an error of this package."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from reprise.errors import ConfigError, RepriseError
from reprise.recommender import Recommender
from reprise.recommender.option_checks import at_most

NAN = float("nan")


def test_k_is_limited_by_the_number_of_items() -> None:
    assert [at_most(k, 5) for k in (1, 5, 6, np.int8(7), 10**30)] == [1, 5, 5, 5, 5]
    assert at_most(3, 0) == 0


RECOMMEND = [
    {"k": k} for k in (0, -1, True, 1e9, NAN, "3", None, [3])
] + [
    {name: value} for name in ("deny", "allow") for value in (2, "p1", 2.5, True, {"p1": 1}, b"p1", [2], [None], [["p1"]],
                                                              pd.DataFrame({"item_id": ["p1"]}))
] + [{"deny": None}] + [
    {"filter": value} for value in (5, "x", ["p1"], True, {1: 2}, {None: 1})
] + [
    {"diversity": value} for value in ("1", None, NAN, True, -0.1, 1.1, [0.5])
] + [
    {"now": value} for value in (NAN, True, "soon", [1], float("inf"), pd.NaT, 1.7e15, {})
] + [
    {"exclude_seen": value} for value in ("no", 1, None)
]  # fmt: skip


@pytest.mark.parametrize("options", RECOMMEND, ids=repr)
def test_an_invalid_option_of_a_recommendation_is_an_error_of_this_package(
    shop: Recommender, options: dict[str, Any]
) -> None:
    for call in (
        lambda: shop.recommend(["p1"], **options),
        lambda: shop.recommend_many([["p1"]], **options),
        lambda: shop.session(remember_seen=True).recommend(**options),
    ):
        with pytest.raises(RepriseError):
            call()


@pytest.mark.parametrize(
    "options",
    [{name: value} for name, values in {
        "length": (0, -1, True, 1e9, NAN, "3", None, 10**9), "temperature": (-1, NAN, "1", None, True, [1]),
        "top_k": (0, 1.5, "3", True), "top_p": (0, 1.5, NAN, "0.5", True, [0.5]), "no_repeat": ("no", 1, None),
        "seed": (-1, 1.5, "1", True), "beams": (0, 2.5, "2", True),
    }.items() for value in values],
    ids=repr,
)  # fmt: skip
def test_an_invalid_option_of_a_continuation_is_an_error_of_this_package(
    shop: Recommender, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))}"):
        shop.generate(["p1"], **options)


@pytest.mark.parametrize("value", [0, -1, True, 1e9, NAN, "3", [3]])
def test_invalid_counts_are_errors_of_this_package(shop: Recommender, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^k must be"):
        shop.similar_items("p1", k=value)
    with pytest.raises(ConfigError, match=r"^last must be"):
        shop.explain(["p1"], "p1", last=value)


@pytest.mark.parametrize(
    "changes", [5, "p1", ["p1"], {"p1": 5}, {"p1": ["price"]}, {1: {"price": 2}}, {"p1": {1: 2}}]
)
def test_invalid_changes_of_items_are_errors_of_this_package(shop: Recommender, changes: Any) -> None:
    with pytest.raises(RepriseError):
        shop.with_items(changes)


def test_whether_to_remember_seen_items_is_true_or_false(shop: Recommender) -> None:
    with pytest.raises(ConfigError, match=r"^remember_seen must be True or False, got 'no'$"):
        shop.session(remember_seen="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("item", [1, None, NAN, ["p1"], {"p1"}, b"p1", True, pd.NA])
def test_an_item_of_another_type_is_an_error_of_this_package(shop: Recommender, item: Any) -> None:
    for call in (
        lambda: shop.similar_items(item),
        lambda: shop.explain(["p1"], item),
        lambda: shop.recommend([item]),
        lambda: shop.recommend([(item, 5)]),
        lambda: shop.session().add(item),
    ):
        with pytest.raises(RepriseError):
            call()


@pytest.mark.parametrize("item", [3.0, np.float64(3), True, np.True_, "3", "03", None, NAN, pd.NA, 3j])
def test_only_integers_match_integer_ids(counting_shop: Recommender, item: Any) -> None:
    for history in ([item], [(item, 5)], [4, item], [{"item_id": item}]):
        with pytest.raises(
            RepriseError, match=r"^item id .* of this model are integers; pass ids of that type"
        ):
            counting_shop.recommend(history)
    with pytest.raises(RepriseError, match=r"^item id "):
        counting_shop.recommend([4], deny=[item])
    assert counting_shop.recommend([np.int8(3), np.uint64(3)]) == counting_shop.recommend([3, 3])


def test_a_float_id_is_refused_with_the_usual_cause(counting_shop: Recommender) -> None:
    with pytest.raises(
        RepriseError, match=r"^item id 3\.0 is of type float, .* \(pandas turns integers into floats if some"
    ):
        counting_shop.recommend([3.0])


def test_a_pair_is_not_the_id_of_an_item(shop: Recommender) -> None:
    for call in (shop.similar_items, shop.session().add, lambda item: shop.explain(["p1"], item)):
        with pytest.raises(RepriseError, match=r"^item id \('p1', 5\) is of type tuple"):
            call(("p1", 5))  # type: ignore[operator]
