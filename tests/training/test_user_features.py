"""Attributes of users as inputs: learned, the same in training and serving, and faults that are named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import reprise as rp
from reprise.data.batching import BatchPlan
from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError, DataError
from reprise.models.batch import gather
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.recommender import Recommender, UserHistory
from reprise.testing.worlds import world

COUNTRIES = ("FR", "UK")
SPEC = Recurrent(cell="gru", size=8, layers=1, cooccurrence=0, repeats=0, users=("country",), dropout=0.0)


@pytest.fixture(scope="module")
def shop() -> SequenceDataset:
    """After item `start`, users of France choose `wine` and those of the UK `tea`; nothing else tells them apart."""
    rows = [["start", "wine" if user % 2 == 0 else "tea"] * 3 for user in range(60)]
    countries = [COUNTRIES[user % 2] for user in range(60)]
    return replace(world(rows), user_table=pa.table({"country": countries, "age": np.arange(60)}))


def built(dataset: SequenceDataset) -> SequenceModel:
    torch.manual_seed(0)
    model = SPEC.build(dataset.sizes)
    model.add_users(dataset)
    assert model.users is not None
    torch.nn.init.normal_(model.users.weight)
    return model.eval()


def test_without_training_attributes_change_nothing(shop: SequenceDataset) -> None:
    torch.manual_seed(0)
    model = SPEC.build(shop.sizes).eval()
    plain = model.scores(model.initial_state(1))
    model.add_users(shop)
    assert torch.equal(model.scores(model.initial_state(1)), plain)
    assert model.users is not None and not model.users.weight.any()


def test_batches_and_served_states_give_the_same_queries(shop: SequenceDataset) -> None:
    model = built(shop)
    recommender = Recommender(model, shop)
    first_U, last_U = shop.part("test")
    plan = BatchPlan(shop.offset[:-1], shop.offset[1:], events_per_batch=10_000, max_steps=100)
    batch = gather(shop, next(iter(plan)), first_U, last_U)
    with torch.no_grad():
        scores_NI, _ = model.score_batch(batch)
    for number, row in enumerate(batch.row_B.tolist()[:6]):
        items = shop.items.item_ids(shop.item[shop.offset[row] : shop.offset[row + 1] - 1])
        found = recommender.recommend(UserHistory(items, {"country": COUNTRIES[row % 2]}), k=3)
        expected = scores_NI[number]
        by_id = {shop.items.item_ids([index + 1])[0]: score for index, score in enumerate(expected.tolist())}
        assert {one.item_id: one.score for one in found} == pytest.approx(by_id, abs=1e-4)


def test_attributes_tell_users_apart(shop: SequenceDataset, tmp_path: Path) -> None:
    training = rp.TrainingConfig(epochs=12, learning_rate=0.05, refit=0)
    options = rp.RunOptions(threads=1)
    network = rp.train(SPEC, shop, tmp_path / "run", training=training, options=options)
    recommender = Recommender(network, shop)
    for country, item in zip(COUNTRIES, ("wine", "tea"), strict=True):
        assert recommender.recommend(UserHistory(["start"], {"country": country}), k=1).item_ids == [item]
    recommender.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    french = UserHistory(["start"], {"country": "FR"})
    assert again.recommend(french, k=3) == recommender.recommend(french, k=3)
    unknown = again.recommend(UserHistory(["start"], {"country": "IT"}), k=3)
    assert [one.score for one in unknown] == pytest.approx(
        [one.score for one in again.recommend(["start"], k=3)]
    )
    influence = again.explain(french, "wine")
    assert len(influence) == 1 and np.isfinite(influence[0].influence)
    assert len(again.generate(french, 2, seed=0)) == 2


def test_faults_are_named(shop: SequenceDataset) -> None:
    without = replace(shop, user_table=None)
    with pytest.raises(
        DataError, match="the network reads country of users, but the dataset has no user table; prepare it"
    ):
        SPEC.build(shop.sizes).add_users(without)
    with pytest.raises(ConfigError, match="the user table has no column 'contry'; did you mean 'country'"):
        replace(SPEC, users=("contry",)).build(shop.sizes).add_users(shop)
    with pytest.raises(ConfigError, match="an ensemble cannot read attributes of users"):
        rp.Ensemble(member=SPEC, members=2).build(shop.sizes)


def test_a_saved_map_that_does_not_fit_is_refused(shop: SequenceDataset) -> None:
    artefact = Recommender(built(shop), shop).artefact
    wrong = {**artefact.tensors, "users.weight": np.zeros((1, 3), dtype=np.float32)}
    with pytest.raises(ArtefactError, match="the map of the attributes of users does not fit the model"):
        Recommender.of(replace(artefact, tensors=wrong))
