import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting_model import Counting
from rich_model import START_S, random_history

from reprise.data.vocabulary import ItemId
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender, rank_histories
from reprise.recommender.history import HistoryLike, Timestamp
from reprise.recommender.items.candidate_mask import Filters
from reprise.recommender.recommendations import Recommendations
from reprise.recommender.runtime.onnx_network import OnnxNetwork

INFERENCE_ONLY = """
import json, sys
for name in ("torch", "ibis", "duckdb", "pydantic", "onnx", "scipy"):
    sys.modules[name] = None  # importing it raises an error
from reprise import Recommender
shop = Recommender.load(sys.argv[1])
session = shop.session()
session.add("p3")
print(json.dumps([
    shop.recommend(["p3", "p1"], k=5), shop.recommend_many([["p3"], []], k=3), session.recommend(5),
    shop.similar_items("p3", k=3), shop.explain(["p3", "p1"], "p2"), shop.generate(["p3"], seed=1),
]))
"""


def scores_of(shop: Recommender, history: HistoryLike, now: Timestamp | None = None) -> dict[ItemId, float]:
    return {one.item_id: one.score for one in shop.recommend(history, k=shop.items.warm, now=now)}


def near(one: Recommendations, other: Recommendations) -> bool:
    scores = [item.score for item in one], [item.score for item in other]
    return one.item_ids == other.item_ids and scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_results_are_the_same_in_memory_from_disk_and_in_bulk(
    counting_shop: Recommender, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    histories = [generator.integers(40, size=size).tolist() for size in generator.integers(9, size=50)]
    counting_shop.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    single = [counting_shop.recommend(history, 7, deny=[3], exclude_seen=True) for history in histories]
    assert single == [loaded.recommend(history, 7, deny=[3], exclude_seen=True) for history in histories]
    bulk = loaded.recommend_many(histories, 7, deny=[3], exclude_seen=True)
    assert all(near(one, other) for one, other in zip(single, bulk, strict=True))
    assert [one.skipped for one in single] == [other.skipped for other in bulk]


def test_results_with_all_inputs_are_the_same_in_memory_from_disk_and_in_bulk(
    rich_shop: Recommender, tmp_path: Path
) -> None:
    histories = [random_history(seed, seed % 7) for seed in range(30)]
    now = START_S + 1e8
    rich_shop.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    assert loaded.reads == rich_shop.reads == ("timestamp", "kind", "value", "now")
    single = [rich_shop.recommend(history, 7, exclude_seen=True, now=now) for history in histories]
    assert single == [loaded.recommend(history, 7, exclude_seen=True, now=now) for history in histories]
    bulk = loaded.recommend_many(histories, 7, exclude_seen=True, now=now)
    for one, other in zip(single, bulk, strict=True):
        assert one.item_ids == other.item_ids
        assert [item.score for item in one] == pytest.approx([item.score for item in other], abs=1e-4)


@pytest.mark.parametrize(
    "changed",
    [{"timestamp": START_S + 9}, {"kind": "buy"}, {"value": 50.0}, {"item_id": "p7"}],
    ids=lambda changed: next(iter(changed)),
)
def test_each_input_changes_the_scores(rich_shop: Recommender, changed: dict[str, Any]) -> None:
    first = {"item_id": "p1", "timestamp": START_S, "kind": "view", "value": 2.0}
    last = {"item_id": "p2", "timestamp": START_S + 60}
    assert scores_of(rich_shop, [first, last]) != scores_of(rich_shop, [{**first, **changed}, last])


def test_an_unknown_request_time_is_not_the_time_of_the_last_event(rich_shop: Recommender) -> None:
    history = [("p1", START_S), ("p2", START_S + 60)]
    same_time, later = (
        scores_of(rich_shop, history, now) for now in (START_S + 60, datetime.fromtimestamp(2e9, UTC))
    )
    unknown = scores_of(rich_shop, history)
    assert unknown != same_time != later != unknown
    # without times of events, a time of the request has no effect
    untimed = ["p1", "p2"]
    assert scores_of(rich_shop, untimed) == scores_of(rich_shop, untimed, 2e9)


def test_now_must_not_be_before_the_last_event_of_any_user(rich_shop: Recommender) -> None:
    with pytest.raises(DataError, match=r"^now \(2023-11-14T22:13:20\+00:00\) is before the last event"):
        rich_shop.recommend_many([[("p1", 5.0)], [("p1", START_S + 1)], ["p1"]], now=START_S)


def test_a_network_that_reads_items_only_ignores_other_inputs(shop: Recommender) -> None:
    assert shop.reads == ()
    plain = shop.recommend(["p1", "p2"], k=5)
    events = [{"item_id": "p1", "timestamp": 5, "kind": "?", "value": 3.5}, ("p2", 1e9)]
    assert shop.recommend(events, k=5, now=2e9) == plain


def test_batches_of_histories_give_the_same_results(
    counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    histories = [generator.integers(30, size=size).tolist() for size in generator.integers(9, size=20)]
    whole = counting_shop.recommend_many(histories, 7, exclude_seen=True)
    monkeypatch.setattr(rank_histories, "MAX_BATCH", 3)
    grouped = counting_shop.recommend_many(histories, 7, exclude_seen=True)
    assert all(near(one, other) for one, other in zip(whole, grouped, strict=True))


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_large_catalogue_divides_the_masks_but_not_the_fold(
    counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch, exclude_seen: bool
) -> None:
    generator = np.random.default_rng(0)
    histories = [generator.integers(30, size=size).tolist() for size in generator.integers(1, 9, size=20)]
    whole = counting_shop.recommend_many(histories, 7, exclude_seen=exclude_seen)
    folded: list[int] = []
    masks: list[int] = []
    fold, mask = OnnxNetwork.fold, Filters.mask
    monkeypatch.setattr(OnnxNetwork, "fold", lambda self, all: folded.append(len(all)) or fold(self, all))
    monkeypatch.setattr(Filters, "mask", lambda self, seen_B: masks.append(len(seen_B)) or mask(self, seen_B))
    # as with ten million items: a mask of one user alone is above the limit
    monkeypatch.setattr(rank_histories, "MAX_MASK_ENTRIES", 30 - 1)
    divided = counting_shop.recommend_many(histories, 7, exclude_seen=exclude_seen)
    assert folded == [20]
    assert masks == ([1] * 20 if exclude_seen else [20])
    assert all(near(one, other) for one, other in zip(whole, divided, strict=True))


@pytest.mark.parametrize("fixture", ["shop", "rich_shop"])
def test_a_saved_model_works_without_torch_onnx_and_duckdb(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shop: Recommender = request.getfixturevalue(fixture)
    shop.save(tmp_path / "m")
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", INFERENCE_ONLY, str(tmp_path / "m")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    session = shop.session()
    session.add("p3")
    here: list[Any] = [
        shop.recommend(["p3", "p1"], k=5), shop.recommend_many([["p3"], []], k=3), session.recommend(5),
        shop.similar_items("p3", k=3), shop.explain(["p3", "p1"], "p2"), shop.generate(["p3"], seed=1),
    ]  # fmt: skip
    assert json.loads(ran.stdout) == json.loads(json.dumps(here))


def test_no_histories_give_no_results(shop: Recommender) -> None:
    assert shop.recommend_many([]) == []


def test_seen_items_are_recommended_unless_they_are_excluded(shop: Recommender) -> None:
    history = ["p1", "p2", "p3"]
    assert set(history) < set(shop.recommend(history, k=12).item_ids)
    assert set(shop.recommend(history, k=12, exclude_seen=True).item_ids) == {
        f"p{item}" for item in range(12)
    } - set(history)


@pytest.fixture(scope="module")
def priced(shop: Recommender) -> Recommender:
    """The recommender with prices from 0 in index order, two colours, and one item that is not available."""
    items = shop.artefact.items
    rows = range(len(items))
    items = items.append_column("price", [[float(row) for row in rows]])
    items = items.append_column("colour", [["red" if row % 2 else "blue" for row in rows]])
    items = items.append_column("available", [[row != 5 for row in rows]])
    return Recommender.of(replace(shop.artefact, items=items))


@pytest.mark.parametrize("history", [["p1", "p2"], []])
def test_a_filter_gives_the_same_result_in_memory_from_disk_in_bulk_and_in_a_session(
    priced: Recommender, history: list[ItemId], tmp_path: Path
) -> None:
    conditions = {"price": {"min": 2, "max": 9}, "colour": "red"}
    session = priced.session()
    for item in history:
        session.add(item)
    result = priced.recommend(history, 5, filter=conditions)
    assert sorted(priced.items.index(item) - 1 for item in result.item_ids) == [3, 7, 9]
    unfiltered = priced.recommend(history, 11, filter=None)
    assert result.item_ids == [item for item in unfiltered.item_ids if item in result.item_ids]
    priced.save(tmp_path / "m")
    assert result == Recommender.load(tmp_path / "m").recommend(history, 5, filter=conditions)
    assert near(result, priced.recommend_many([["p4"], history], 5, filter=conditions)[1])
    assert near(result, session.recommend(5, filter=conditions))


def test_an_unavailable_item_is_never_returned_but_can_be_read(priced: Recommender) -> None:
    unavailable = priced.items.item_ids([6])[0]
    assert unavailable not in priced.recommend(["p1"], 12).item_ids
    assert unavailable not in priced.recommend([], 12).item_ids
    assert unavailable not in priced.similar_items("p1" if unavailable != "p1" else "p2", 11).item_ids
    result = priced.recommend(["p1"], 12, filter={"available": False})
    assert (result.item_ids, result[0].title) == ([unavailable], priced.ranker.catalogue.title(6))
    assert priced.recommend([unavailable], 3).skipped == 0
    assert len(priced.explain([unavailable], unavailable)) == 1
    available = sorted(set(map(str, priced.items.item_ids(range(1, 13)))) - {str(unavailable)})
    for options in ({"seed": 1}, {"temperature": 0}, {"beams": 3}):
        for history in (["p1"], []):
            assert sorted(map(str, priced.generate(history, 11, **options))) == available
    with pytest.raises(ConfigError, match=r"^length=12 is above the 11 items that can be chosen; "):
        priced.generate(["p1"], 12)


def test_if_no_item_is_available_no_item_is_recommended(shop: Recommender) -> None:
    items = shop.artefact.items
    empty = Recommender.of(
        replace(shop.artefact, items=items.append_column("available", [[False] * len(items)]))
    )
    assert empty.recommend(["p1"], 3) == empty.recommend([], 3, diversity=0.5) == []
    assert empty.similar_items("p1", 3) == []
    with pytest.raises(ConfigError, match=r"^no item can be chosen, because no item is available$"):
        empty.generate(["p1"], 1, no_repeat=False)


def test_an_unknown_column_in_a_filter_is_an_error(priced: Recommender) -> None:
    with pytest.raises(DataError, match=r"^filter: the items have no column 'prize'; did you mean 'price'"):
        priced.recommend(["p1"], 3, filter={"prize": 3})
    with pytest.raises(DataError, match=r"^filter: the items have no column 'prize'"):
        priced.session().recommend(3, filter={"prize": 3})


def test_an_item_without_a_vector_is_skipped_and_never_recommended(shop: Recommender) -> None:
    result = shop.recommend(["new", "p1"], k=12)
    assert result.skipped == 1
    assert result == shop.recommend(["p1"], k=12)
    assert "new" not in result.item_ids


def test_integer_ids_are_returned_as_integers(counting_shop: Recommender) -> None:
    result = counting_shop.recommend([3, 4], k=2)
    assert all(type(one.item_id) is int and type(one.score) is float for one in result)


def test_a_history_with_ids_of_the_wrong_type_is_an_error(counting_shop: Recommender) -> None:
    with pytest.raises(DataError, match=r"^item id '3' is of type str, the ids of this model are integers"):
        counting_shop.recommend(["3", "4"], k=2)


def test_similar_items_are_ranked_by_cosine_without_the_item_itself(counting_shop: Recommender) -> None:
    vectors_ID = counting_shop.artefact.input_ID
    index = counting_shop.items.index(7)
    unit_ID = vectors_ID / np.linalg.norm(vectors_ID, axis=1, keepdims=True)
    cosine = {one: float(unit_ID[one - 1] @ unit_ID[index - 1]) for one in range(1, 31) if one != index}
    result = counting_shop.similar_items(7, k=29)
    expected = sorted(cosine, key=lambda one: -cosine[one])
    assert result.item_ids == counting_shop.items.item_ids(expected)
    assert [one.score for one in result] == pytest.approx(sorted(cosine.values(), reverse=True), abs=1e-6)
    assert result[0].reason == "similar to 7"


def test_similar_items_of_an_unknown_item_are_an_error(shop: Recommender) -> None:
    with pytest.raises(DataError, match=r"^unknown item 'p-1'; did you mean 'p1'\?$"):
        shop.similar_items("p-1")


def test_a_k_above_the_other_items_gives_all_of_them(shop: Recommender) -> None:
    assert (
        shop.similar_items("p1", k=12) == shop.similar_items("p1", k=10**9) == shop.similar_items("p1", k=11)
    )
    assert len(shop.similar_items("p1", k=11)) == 11


def test_a_loaded_model_has_its_spec(shop: Recommender, tmp_path: Path) -> None:
    shop.save(tmp_path / "m")
    assert Recommender.load(tmp_path / "m").spec == Recurrent(
        size=16, temperature=0, attention=0, cooccurrence=0, repeats=0
    )


def test_a_spec_outside_the_package_needs_trusted(counting_shop: Recommender, tmp_path: Path) -> None:
    counting_shop.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    assert loaded.recommend([3], k=1) == counting_shop.recommend([3], k=1)
    with pytest.raises(ConfigError, match=r"^'counting_model:Counting' lies outside the package reprise"):
        _ = loaded.spec
    assert Recommender.load(tmp_path / "m", trusted=True).spec == Counting()


def test_repr_shows_the_name_and_the_number_of_items(shop: Recommender) -> None:
    assert repr(shop) == "Recommender('rglru 2 x 16', 12 items)"


def test_a_run_directory_is_not_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"is not a saved model"):
        Recommender.load(str(tmp_path))
