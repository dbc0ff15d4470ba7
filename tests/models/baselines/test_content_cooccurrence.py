import pytest
import torch
from coloured import coloured

from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.content_cooccurrence import (
    DEFAULT_UNSEEN_COUNT,
    ContentCooccurrence,
    _log_popularity,
)
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.testing.contracts import check_scorer

SPEC = ContentCooccurrence(window=4, neighbours=16)


@pytest.fixture(scope="module")
def dataset():
    return coloured()


@pytest.fixture(scope="module")
def model(dataset):
    return SPEC.fit(dataset)


def test_new_items_are_found_by_their_content(dataset, model):
    """The validation part shows that the next item is a new one of the same colour; without content it is a miss."""
    report = evaluate(model, dataset, at=(1, 2))
    assert report.metrics["recall_cold@2"].value == 1
    assert report.metrics["recall_cold_among_cold@2"].value == 1
    without = evaluate(Cooccurrence(window=4).fit(dataset), dataset, at=(2,))
    assert without.metrics["recall@2"].value == 0


def test_items_of_the_validation_part_are_counted_for_the_test_part(dataset, model):
    """red-late has events in the validation part, red-latest has none before the test part."""
    late, latest = (dataset.items.index(item) - 1 for item in ("red-late", "red-latest"))
    count = len(dataset) / 4
    total = dataset.part_events("train") + len(dataset)
    seen = 1 - 4 * float(model.log_popularity_I[latest].exp())
    assert float(model.log_popularity_I[late].exp()) == pytest.approx(count / total * seen, rel=1e-4)
    model.count(dataset, before="valid")
    assert model.log_popularity_I[late] == model.log_popularity_I[latest]
    model.count(dataset)


def test_items_without_events_divide_their_share_of_the_validation_targets():
    """Half of the events are of unseen items, a quarter for each of two."""
    found = _log_popularity(torch.tensor([6.0, 2.0, 0.0, 0.0]), unseen_share=0.5)
    assert found.exp().tolist() == pytest.approx([3 / 8, 1 / 8, 1 / 4, 1 / 4])


def test_without_an_estimate_an_item_without_events_counts_as_half_an_event():
    found = _log_popularity(torch.tensor([6.0, 2.0, 0.0, 0.0]), None)
    total = 8 + 2 * DEFAULT_UNSEEN_COUNT
    assert found.exp().tolist() == pytest.approx([6 / total, 2 / total, 0.5 / total, 0.5 / total])


def test_without_a_validation_part_the_parameters_keep_their_defaults():
    """Then content orders the new items, but little makes up for their missing events."""
    dataset = coloured()
    object.__setattr__(dataset, "valid_end", dataset.train_end)
    model = SPEC.fit(dataset)
    assert model.unseen_share is None
    metrics = evaluate(model, dataset, at=(2,)).metrics
    assert metrics["recall_cold_among_cold@2"].value == 1
    assert metrics["recall_cold@2"].value == 0


def test_scores_of_a_batch_are_those_of_single_steps(dataset, model):
    check_scorer(model, dataset)


def test_an_empty_training_part_is_an_error():
    dataset = coloured()
    object.__setattr__(dataset, "train_end", dataset.offset[:-1])
    object.__setattr__(dataset, "valid_end", dataset.offset[:-1])
    with pytest.raises(DataError, match="the training part is empty"):
        SPEC.fit(dataset)


@pytest.mark.parametrize("field", ["window", "neighbours"])
def test_fields_out_of_range_are_rejected(field):
    with pytest.raises(ConfigError, match=f"{field} must be at least 1, got 0"):
        ContentCooccurrence(**{field: 0})
