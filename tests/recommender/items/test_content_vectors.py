"""New items are encoded without torch, as the trained network encodes cold items."""

from pathlib import Path

import numpy as np
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, DataError
from reprise.models.items.content_embeddings import ItemContent
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender.items.content_vectors import ContentVectors
from reprise.recommender.recommendations import ColumnContribution
from reprise.recommender.recommender import Recommender
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.testing.worlds import families
from reprise.training import RunOptions, TrainingConfig, train


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    return families()


@pytest.fixture(scope="module")
def recommender(data: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    spec = Recurrent(
        size=24, layers=1, dropout=0.0, item_dropout=0.0, repeats=0, content=ItemContent(id_dropout=0.3)
    )
    training = TrainingConfig(epochs=16, events_per_batch=256, learning_rate=0.01, refit=0)
    run = tmp_path_factory.mktemp("content") / "run"
    model = train(spec, data, run, training=training, options=RunOptions(threads=1))
    return Recommender(model, data)


def test_a_saved_model_with_content_recommends_cold_items(
    recommender: Recommender, data: SequenceDataset, tmp_path: Path
) -> None:
    recommender.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    loaded.self_check()
    found = loaded.recommend(["0-0", "1-1", "2-0"], k=8)
    assert {"3-4", "3-5"} <= {item.item_id for item in found}
    assert [item.item_id for item in found] == [
        item.item_id for item in recommender.recommend(["0-0", "1-1", "2-0"], k=8)
    ]


def test_a_history_of_cold_items_is_read(recommender: Recommender) -> None:
    found = recommender.recommend(["0-4", "1-5", "2-5"], k=4)
    assert found.skipped == 0
    assert sum(str(item.item_id).startswith("3-") for item in found) >= 3


def test_cold_items_have_the_vectors_of_their_columns(
    recommender: Recommender, data: SequenceDataset
) -> None:
    artefact = recommender.artefact
    vectors = ContentVectors.from_artefact(artefact)
    assert vectors is not None
    cold = data.table.slice(data.items.warm).to_pylist()
    found = vectors.vectors(cold)
    np.testing.assert_allclose(found.input_MD, artefact.input_ID[data.items.warm :], atol=1e-5)
    np.testing.assert_allclose(found.output_MD, artefact.output_ID[data.items.warm :], atol=1e-5)


def test_an_item_without_content_is_the_last_choice(recommender: Recommender) -> None:
    vectors = ContentVectors.from_artefact(recommender.artefact)
    assert vectors is not None
    found = vectors.vectors([{"title": None}, {}])
    assert (found.output_MD[:, :-1] == 0).all() and (found.output_MD[:, -1] == -1).all()


def explained(shop: Recommender, item_id: str, learned: bool) -> list[ColumnContribution]:
    """Return the explanation of an item, after a check that all parts sum to its score."""
    history = ["0-0", "1-1", "2-0"]
    ranker = shop.ranker
    assert ranker.content is not None
    index = np.array([ranker.catalogue.index(item_id)])
    state = ranker.network.fold([EventArrays.of_items(ranker.catalogue.indices(history))])
    query_D = ranker.network.query(state)[0]
    input_D, output_D = ranker.network.input_of(index)[0], ranker.network.output_of(index)[0]
    found = shop.explain_columns(history, item_id)
    feature_1F = ranker.content.content.encode_values([{one.column: one.value for one in found}])
    parts = ranker.content.score_parts(query_D, feature_1F[0], input_D, output_D)
    assert {one.column: one.contribution for one in found} == pytest.approx(parts.columns)
    total = sum(one.contribution for one in found) + parts.learned + parts.bias
    assert total == pytest.approx(float(query_D @ output_D), abs=1e-4)
    assert (abs(parts.learned) > 1e-3) == learned
    return found


def test_columns_learned_vector_and_bias_sum_to_the_score(recommender: Recommender) -> None:
    (warm,) = explained(recommender, "3-0", learned=True)
    assert (warm.column, warm.value) == ("title", "scarf no 0")
    (cold,) = explained(recommender, "3-4", learned=False)
    assert cold.value == "scarf no 4" and cold.contribution > 0, "scarves follow"
    added = recommender.with_items({"new": {"title": "scarf no 77"}, "odd": {"title": "mug no 77"}})
    (scarf,), (mug,) = (explained(added, item_id, learned=False) for item_id in ("new", "odd"))
    assert (scarf.value, mug.value) == ("scarf no 77", "mug no 77")
    assert scarf.contribution > mug.contribution


def test_the_explained_value_is_the_one_that_the_vector_was_made_from(recommender: Recommender) -> None:
    """A new title gives a cold item another vector, but not one of the training part."""
    changed = recommender.with_items({"3-0": {"title": "mug no 9"}, "3-4": {"title": "mug no 9"}})
    (warm,), (cold,) = explained(changed, "3-0", learned=True), explained(changed, "3-4", learned=False)
    assert (warm.value, cold.value) == ("scarf no 0", "mug no 9")


def test_no_column_is_explained_without_events_or_values(recommender: Recommender) -> None:
    assert recommender.explain_columns([], "3-0") == []
    untitled = recommender.with_items({"3-4": {"title": None}})
    assert untitled.explain_columns(["2-0"], "3-4") == []
    with pytest.raises(DataError, match="unknown item 'missing'"):
        recommender.explain_columns(["2-0"], "missing")


def test_the_slot_of_a_removed_item_starts_without_impressions(recommender: Recommender) -> None:
    exploring = recommender.with_exploration(0.5, seed=0)
    exploration = exploring.ranker.exploration
    assert exploration is not None
    first = exploring.with_items({"new": {"title": "lamp no 9"}})
    index = first.ranker.catalogue.index("new")
    for _ in range(3):
        first.recommend(["0-0"], k=100)
    assert exploration.impressions.counts(index)[index - 1] == 3
    second = first.without_items(["new"]).with_items({"other": {"title": "lamp no 9"}})
    assert second.ranker.catalogue.index("other") == index
    second.recommend(["0-0"], k=100)
    assert exploration.impressions.counts(index)[index - 1] == 1


def test_a_wrong_type_is_refused(recommender: Recommender) -> None:
    vectors = ContentVectors.from_artefact(recommender.artefact)
    assert vectors is not None
    with pytest.raises(DataError, match="title"):
        vectors.vectors([{"title": 12.5}])


def test_a_model_without_the_map_of_its_content_is_refused(recommender: Recommender, tmp_path: Path) -> None:
    artefact = recommender.artefact
    tensors = {name: array for name, array in artefact.tensors.items() if name != "content_map.popularity"}
    broken = Recommender.of(artefact)
    object.__setattr__(
        broken,
        "artefact",
        type(artefact)(artefact.metadata, tensors, artefact.step, artefact.query, artefact.items),
    )
    with pytest.raises(ArtefactError, match="content of items"):
        broken.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_model_without_content_has_no_map(tmp_path: Path) -> None:
    data = families(sequences=30)
    training = TrainingConfig(epochs=1, refit=0)
    model = train(Recurrent(size=8, layers=1), data, tmp_path / "run", training=training)
    recommender = Recommender(model, data)
    artefact = recommender.artefact
    assert recommender.explain_columns(["0-0"], "1-0") == []
    assert ContentVectors.from_artefact(artefact) is None
    assert artefact.scored == data.items.warm
