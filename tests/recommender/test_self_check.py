import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reprise.errors import ArtefactError
from reprise.recommender import Recommender
from reprise.recommender.artefact.artefact import CARD, MANIFEST
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.self_check import GOLDEN, MAX_BYTES, REPEATS_ALONE, check_each_kind

each_shop = pytest.mark.parametrize("fixture", ["shop", "counting_shop", "rich_shop"])


def golden_of(shop: Recommender) -> list[dict[str, Any]]:
    golden: list[dict[str, Any]] = shop.artefact.metadata[GOLDEN]
    return golden


def with_changed_result(shop: Recommender, change: Any) -> Recommender:
    """Return the same model with a changed result in its second golden test."""
    golden = json.loads(json.dumps(golden_of(shop)))
    change(golden[1])
    return Recommender.of(replace(shop.artefact, metadata={**shop.artefact.metadata, GOLDEN: golden}))


@each_shop
def test_a_loaded_model_passes_its_golden_tests(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shop: Recommender = request.getfixturevalue(fixture)
    shop.self_check()
    shop.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    loaded.self_check()
    assert golden_of(loaded) == golden_of(shop) == loaded._make_golden_tests()


def test_requests_have_several_forms_and_no_user_data(rich_shop: Recommender) -> None:
    golden = golden_of(rich_shop)
    assert [len(test["items"]) for test in golden] == [0, 3, 5, 5, 5, 50]
    assert golden[1]["items"] == rich_shop.items.item_ids([1, 2, 3])
    assert len(set(golden[2]["items"])) == 2
    assert [len(test["ids"]) for test in golden] == [10, 10, 10, 2, 10, 10]
    assert all(len(test["ids"]) == len(test["scores"]) for test in golden)
    assert set(golden[3]["ids"]) == set(golden[3]["items"]) == set(golden[3]["allow"])
    names = {"about", "items", "timestamp", "kind", "value", "now", "ids", "scores"}
    assert names == set(golden[5]) == set(golden[3]) - {"allow"}
    for name in ("timestamp", "kind", "value"):
        assert len(golden[5][name]) == 50
        assert 0 < golden[5][name].count(None) < 25
    assert set(golden[5]["kind"]) == {*rich_shop.artefact.metadata["data"]["kinds"], None}


def test_requests_contain_only_inputs_that_the_network_reads(shop: Recommender) -> None:
    assert {name for test in golden_of(shop) for name in test} == {
        "about", "items", "allow", "ids", "scores"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["gate", "position", "own_weight"])
def test_a_change_of_the_repeat_head_fails_a_golden_test(rich_shop: Recommender, name: str) -> None:
    tensors = dict(rich_shop.artefact.tensors)
    tensors[f"repeats.{name}"] = tensors[f"repeats.{name}"] + np.float32(0.1)
    with pytest.raises(ArtefactError, match=r"fails the golden test about .*: the score at rank "):
        Recommender.of(replace(rich_shop.artefact, tensors=tensors)).self_check()


def test_without_the_repeat_head_the_items_of_the_history_have_other_scores(rich_shop: Recommender) -> None:
    golden = golden_of(rich_shop)[3]
    assert golden["about"] == REPEATS_ALONE
    tensors = {
        name: one for name, one in rich_shop.artefact.tensors.items() if not name.startswith("repeats.")
    }
    plain = Recommender.of(replace(rich_shop.artefact.with_metadata(golden=[golden]), tensors=tensors))
    with pytest.raises(
        ArtefactError, match=rf"fails the golden test about {REPEATS_ALONE}: the score at rank 1"
    ):
        plain.self_check()


def test_golden_tests_are_small_and_not_on_the_model_card(rich_shop: Recommender, tmp_path: Path) -> None:
    rich_shop.save(tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / MANIFEST).read_text())
    assert len(json.dumps(manifest["facts"][GOLDEN], indent=2)) < MAX_BYTES
    card = (tmp_path / "m" / CARD).read_text()
    assert "golden" not in card and "fifty events" not in card


def test_very_long_ids_give_fewer_golden_tests(shop: Recommender) -> None:
    ids = [f"{item}{'x' * 300}" for item in shop.items.ids]
    items = shop.artefact.items.set_column(0, "item_id", pa.array(ids))
    golden = Recommender.of(replace(shop.artefact, items=items))._make_golden_tests()
    assert 0 < len(golden) < 6
    assert len(json.dumps(golden, indent=2)) <= MAX_BYTES


@pytest.mark.parametrize("change", [1e-3, -1e-3])
def test_a_changed_score_names_the_golden_test(shop: Recommender, change: float) -> None:
    def move(test: dict[str, Any]) -> None:
        test["scores"][3] += change * max(1, abs(test["scores"][3]))

    message = (
        r"^the model fails the golden test about the most popular items: "
        r"the score at rank 4 is \S+ instead of \S+; export the model again, or install the version of onnxruntime "
    )
    with pytest.raises(ArtefactError, match=message):
        with_changed_result(shop, move).self_check()


def test_rounding_is_not_a_difference(shop: Recommender) -> None:
    def move(test: dict[str, Any]) -> None:
        test["scores"] = [score + 5e-5 * max(1, abs(score)) for score in test["scores"]]

    with_changed_result(shop, move).self_check()


def test_items_in_another_order_without_a_tie_are_a_difference(shop: Recommender) -> None:
    def exchange(test: dict[str, Any]) -> None:
        ids = test["ids"]
        ids[0], ids[9] = ids[9], ids[0]

    with pytest.raises(
        ArtefactError, match=r"most popular items: item 'p\d+' is at another rank, with the score "
    ):
        with_changed_result(shop, exchange).self_check()


def test_a_replaced_item_with_another_score_is_a_difference(shop: Recommender) -> None:
    def drop_first(test: dict[str, Any]) -> None:
        test["ids"][0] = "other"

    with pytest.raises(
        ArtefactError, match=r"most popular items: item '\w+' is at another rank, with the score "
    ):
        with_changed_result(shop, drop_first).self_check()


def test_items_with_equal_scores_may_change_places_or_leave_the_result(shop: Recommender) -> None:
    # with equal vectors all items have equal scores
    vectors_ID = np.repeat(shop.artefact.output_ID[:1], shop.items.warm, axis=0)
    even = Recommender.of(replace(shop.artefact, tensors={**shop.artefact.tensors, "input": vectors_ID}))
    even = Recommender.of(even.artefact.with_metadata(golden=even._make_golden_tests()))
    even.self_check()

    def exchange(test: dict[str, Any]) -> None:
        test["ids"] = [*test["ids"][1:], "other"]

    with_changed_result(even, exchange).self_check()


def test_a_different_number_of_items_is_a_difference(shop: Recommender) -> None:
    def shorten(test: dict[str, Any]) -> None:
        del test["ids"][5:], test["scores"][5:]

    with pytest.raises(ArtefactError, match=r"most popular items: 10 items instead of 5; "):
        with_changed_result(shop, shorten).self_check()


def test_changed_weights_are_a_difference(rich_shop: Recommender) -> None:
    tensors = dict(rich_shop.artefact.tensors)
    tensors["input"] = tensors["input"] * np.float32(1.01)
    with pytest.raises(ArtefactError, match=r"^the model fails the golden test about "):
        Recommender.of(replace(rich_shop.artefact, tensors=tensors)).self_check()


def test_a_model_without_golden_tests_passes_if_its_scores_are_finite(shop: Recommender) -> None:
    metadata = {name: value for name, value in shop.artefact.metadata.items() if name != GOLDEN}
    Recommender.of(replace(shop.artefact, metadata=metadata)).self_check()
    tensors = {**shop.artefact.tensors, "input": np.full_like(shop.artefact.input_ID, np.nan)}
    broken = Recommender.of(replace(shop.artefact, metadata=metadata, tensors=tensors))
    with pytest.raises(
        ArtefactError, match=r"^the model has scores that are not finite in the golden test about the "
    ):
        broken.self_check()


def test_a_kind_whose_query_is_not_finite_is_refused(
    rich_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Golden tests draw kinds at random, so they may miss one."""
    advance = OnnxNetwork.advance

    def spoil(network: OnnxNetwork, state: State, events: EventArrays) -> State:
        after = advance(network, state, events)
        after["hidden"] = np.where(events.kind[:, None] == 1, np.nan, after["hidden"]).astype(np.float32)
        return after

    kinds = len(rich_shop.artefact.metadata["data"]["kinds"])
    check_each_kind(rich_shop.ranker.network, kinds)
    monkeypatch.setattr(OnnxNetwork, "advance", spoil)
    with pytest.raises(ArtefactError, match=r"not finite after an event of kind 1; train it again$"):
        check_each_kind(rich_shop.ranker.network, kinds)


@pytest.mark.parametrize("golden", [True, 3, "no", {"about": "nothing"}, [3], [{}], [{"items": [[]]}]])
def test_golden_tests_that_are_not_valid_are_refused(shop: Recommender, golden: object) -> None:
    metadata = {**shop.artefact.metadata, GOLDEN: golden}
    with pytest.raises(ArtefactError, match=r"golden tests? .*export the model again$"):
        Recommender.of(replace(shop.artefact, metadata=metadata)).self_check()
