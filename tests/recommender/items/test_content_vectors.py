"""New items are encoded without torch, as the trained network encodes cold items."""

from pathlib import Path

import numpy as np
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, DataError
from reprise.models.items.content_embeddings import ItemContent
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender.items.content_vectors import ContentVectors
from reprise.recommender.recommender import Recommender
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


def test_the_shares_of_the_columns_and_the_bias_sum_to_the_score(recommender: Recommender) -> None:
    vectors = ContentVectors.from_artefact(recommender.artefact)
    assert vectors is not None
    row = {"title": "lamp no 77"}
    output_MD = vectors.vectors([row]).output_MD
    query_D = np.random.default_rng(0).normal(size=output_MD.shape[1]).astype(np.float32)
    shares = vectors.shares(query_D, vectors.content.encode_values([row])[0])
    assert set(shares) == {"title"}
    total = sum(shares.values()) + vectors.bias * float(query_D[-1])
    assert total == pytest.approx(float(output_MD[0] @ query_D), abs=1e-4)


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
    artefact = Recommender(model, data).artefact
    assert ContentVectors.from_artefact(artefact) is None
    assert artefact.scored == data.items.warm
