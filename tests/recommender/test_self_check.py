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
from reprise.recommender.self_check import BYTES, GOLDEN, ask, check

each_shop = pytest.mark.parametrize("fixture", ["shop", "counting_shop", "rich_shop"])


def golden_of(shop: Recommender) -> list[dict[str, Any]]:
    golden: list[dict[str, Any]] = shop.artefact.facts[GOLDEN]
    return golden


def told_otherwise(shop: Recommender, change: Any) -> Recommender:
    """The same model with a second question that was answered in another way."""
    golden = json.loads(json.dumps(golden_of(shop)))
    change(golden[1])
    return Recommender.of(replace(shop.artefact, facts={**shop.artefact.facts, GOLDEN: golden}))


@each_shop
def test_what_was_answered_at_export_is_answered_from_disk(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shop: Recommender = request.getfixturevalue(fixture)
    check(shop)
    shop.save(tmp_path / "m")
    loaded = Recommender.load(tmp_path / "m")
    check(loaded)
    assert golden_of(loaded) == golden_of(shop) == ask(loaded)


def test_questions_are_of_several_forms_and_tell_nothing_of_anybody(rich_shop: Recommender) -> None:
    golden = golden_of(rich_shop)
    assert [len(question["items"]) for question in golden] == [0, 3, 5, 5, 50]
    assert golden[1]["items"] == rich_shop.items.item_ids([1, 2, 3])
    assert len(set(golden[2]["items"])) == 2
    assert all(len(question["ids"]) == len(question["scores"]) == 10 for question in golden)
    assert {"about", "items", "timestamp", "kind", "value", "now", "ids", "scores"} == set(golden[4])
    for name in ("timestamp", "kind", "value"):
        assert len(golden[4][name]) == 50
        assert 0 < golden[4][name].count(None) < 25
    assert set(golden[4]["kind"]) == {*rich_shop.artefact.facts["data"]["kinds"], None}


def test_only_what_the_network_reads_is_asked(shop: Recommender) -> None:
    assert {name for question in golden_of(shop) for name in question} == {"about", "items", "ids", "scores"}


def test_they_are_small_and_not_on_the_card(rich_shop: Recommender, tmp_path: Path) -> None:
    rich_shop.save(tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / MANIFEST).read_text())
    assert len(json.dumps(manifest["facts"][GOLDEN], indent=2)) < BYTES
    card = (tmp_path / "m" / CARD).read_text()
    assert "golden" not in card and "fifty events" not in card


def test_with_very_long_ids_there_are_fewer(shop: Recommender) -> None:
    ids = [f"{item}{'x' * 300}" for item in shop.items.ids]
    items = shop.artefact.items.set_column(0, "item_id", pa.array(ids))
    golden = ask(Recommender.of(replace(shop.artefact, items=items)))
    assert 0 < len(golden) < 5
    assert len(json.dumps(golden, indent=2)) <= BYTES


@pytest.mark.parametrize("change", [1e-3, -1e-3])
def test_a_moved_score_names_the_question(shop: Recommender, change: float) -> None:
    def move(question: dict[str, Any]) -> None:
        question["scores"][3] += change * max(1, abs(question["scores"][3]))

    message = (
        r"^the model does not answer the golden question about the commonest items as when it was exported: "
        r"the score at rank 4 is \S+ instead of \S+; export it again"
    )
    with pytest.raises(ArtefactError, match=message):
        check(told_otherwise(shop, move))


def test_rounding_is_no_difference(shop: Recommender) -> None:
    def move(question: dict[str, Any]) -> None:
        question["scores"] = [score + 5e-5 * max(1, abs(score)) for score in question["scores"]]

    check(told_otherwise(shop, move))


def test_items_that_changed_places_without_a_tie_are_found(shop: Recommender) -> None:
    def exchange(question: dict[str, Any]) -> None:
        ids = question["ids"]
        ids[0], ids[9] = ids[9], ids[0]

    with pytest.raises(ArtefactError, match=r"commonest items .* item 'p\d+' stands elsewhere, with "):
        check(told_otherwise(shop, exchange))


def test_an_item_that_is_not_as_good_as_the_last_is_found(shop: Recommender) -> None:
    def drop_first(question: dict[str, Any]) -> None:
        question["ids"][0] = "stranger"

    with pytest.raises(ArtefactError, match=r"commonest items .* item '\w+' stands elsewhere, with "):
        check(told_otherwise(shop, drop_first))


def test_items_with_equal_scores_may_change_places_and_leave_at_the_end(shop: Recommender) -> None:
    # all vectors the same: every item has the score of every other
    vectors_ID = np.repeat(shop.artefact.output_ID[:1], shop.items.warm, axis=0)
    even = Recommender.of(replace(shop.artefact, tensors={**shop.artefact.tensors, "input": vectors_ID}))
    even = Recommender.of(even.artefact.with_facts(golden=ask(even)))
    check(even)

    def exchange(question: dict[str, Any]) -> None:
        question["ids"] = [*question["ids"][1:], "stranger"]

    check(told_otherwise(even, exchange))


def test_fewer_answers_are_found(shop: Recommender) -> None:
    def shorten(question: dict[str, Any]) -> None:
        del question["ids"][5:], question["scores"][5:]

    with pytest.raises(ArtefactError, match=r"commonest items .*: 10 items instead of 5; "):
        check(told_otherwise(shop, shorten))


def test_other_weights_are_found(rich_shop: Recommender) -> None:
    tensors = dict(rich_shop.artefact.tensors)
    tensors["input"] = tensors["input"] * np.float32(1.01)
    with pytest.raises(ArtefactError, match=r"^the model does not answer the golden question about "):
        check(Recommender.of(replace(rich_shop.artefact, tensors=tensors)))


def test_a_model_without_them_passes_when_its_answers_are_finite(shop: Recommender) -> None:
    facts = {name: fact for name, fact in shop.artefact.facts.items() if name != GOLDEN}
    check(Recommender.of(replace(shop.artefact, facts=facts)))
    tensors = {**shop.artefact.tensors, "input": np.full_like(shop.artefact.input_ID, np.nan)}
    broken = Recommender.of(replace(shop.artefact, facts=facts, tensors=tensors))
    with pytest.raises(
        ArtefactError, match=r"^the model has no finite scores for the golden question about the "
    ):
        check(broken)
