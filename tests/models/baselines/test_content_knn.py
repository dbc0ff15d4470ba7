from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from coloured import coloured

from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.content_knn import DEFAULT_DECAY, ContentKNN, FittedContentKNN
from reprise.models.counts.session_matrix import TIE_BREAK_SCALE
from reprise.testing.contracts import check_scorer
from reprise.testing.worlds import world

FEATURES = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0, 0]], dtype=np.float32)
"""Content of PAD, a, b, c and d, which has none."""


@pytest.fixture
def small():
    """Items a 3, b 2, c 1 events in training; d is cold."""
    return world([list("aabca"), list("abd")], valid=0, test=1)


def scores(dataset, spec, *window, decay=0.5):
    """Return the scores of a, b, c and d, without the tie-break."""
    model = FittedContentKNN(spec, FEATURES, decay)
    model.count(dataset)
    recent = [0] * (spec.window - len(window)) + [dataset.items.index(item) for item in window]
    return (model.score_windows(torch.tensor([recent]))[0] - model._tie_I).tolist()


def test_scores_match_the_formula(small):
    """cos(a, b) = 0, cos(a, c) = 0.6, cos(b, c) = 0.8; the item before the last has half the weight."""
    spec = ContentKNN(window=3, repeat_weight=0.0)
    assert scores(small, spec, "a") == pytest.approx([0, 0, 0.6, 0], abs=1e-6)
    assert scores(small, spec, "a", "b") == pytest.approx([0, 0, 0.8 + 0.5 * 0.6, 0], abs=1e-6)
    assert scores(small, spec, "b", "c") == pytest.approx([0.6, 0.8, 0.5 * 0.8, 0], abs=1e-6)


def test_a_decay_of_0_uses_the_last_item_only(small):
    spec = ContentKNN(window=3, repeat_weight=0.0)
    assert scores(small, spec, "a", "c", decay=0.0) == scores(small, spec, "c", decay=0.0)


def test_the_repeat_weight_is_the_similarity_of_an_item_to_itself(small):
    assert scores(small, ContentKNN(window=2, repeat_weight=0.7), "c") == pytest.approx([0.6, 0.8, 0.7, 0])
    # an item without content can repeat, too
    assert scores(small, ContentKNN(window=2, repeat_weight=0.7), "d")[3] == pytest.approx(0.7)
    # by default three times the share of repeats: one of six events repeats an item of its session
    assert scores(small, ContentKNN(window=2), "c")[2] == pytest.approx(3 * 1 / 6)


def test_items_of_equal_similarity_are_ordered_by_popularity(small):
    model = FittedContentKNN(ContentKNN(), FEATURES, 0.5)
    model.count(small)
    expected = torch.tensor([[3 / 6, 2 / 6, 1 / 6, 0]]) * TIE_BREAK_SCALE
    torch.testing.assert_close(model.scores(model.initial_state(1)), expected)


def test_new_items_are_found_by_their_content():
    """The test item has the colour of its sequence, and never occurred before. The other new item was the last one."""
    dataset = coloured()
    model = ContentKNN(repeat_weight=0.0).fit(dataset)
    report = evaluate(model, dataset, at=(1, 8))
    assert model.scored_items == len(dataset.items) == 4 * 8
    assert report.metrics["recall_cold@8"].value == 1
    assert report.metrics["recall_cold_among_cold@1"].value == 1


def test_scores_of_a_batch_are_those_of_single_steps():
    dataset = coloured(sequences=9)
    check_scorer(ContentKNN(window=3, decay=0.5).fit(dataset), dataset)


def test_the_decay_is_chosen_on_the_validation_part():
    """Each item is followed by the one of its colour, and the item before tells nothing."""
    pairs = [[f"{colour}-{end}" for end in "ab"] for colour in ("red", "blue", "green", "black")]
    generator = np.random.default_rng(0)
    rows = [[item for pair in generator.permutation(4) for item in pairs[pair]] for _ in range(30)]
    dataset = world(rows, valid=1, test=0)
    colours = [[str(item).partition("-")[0]] for item in dataset.items.ids]
    object.__setattr__(dataset, "table", dataset.table.append_column("colour", [colours]))
    assert ContentKNN().fit(dataset).decay == 0
    assert ContentKNN(decay=0.9).fit(dataset).decay == 0.9


def test_seen_items_are_left_out_when_the_decay_is_chosen():
    """Only the new item is left as a candidate, so that all values are equally good and the first one is taken."""
    dataset = coloured(sequences=4, length=60)
    assert ContentKNN(exclude_seen=True).fit(dataset).decay == 0


def test_without_a_validation_part_the_decay_has_its_default():
    dataset = coloured()
    object.__setattr__(dataset, "valid_end", dataset.train_end)
    assert ContentKNN().fit(dataset).decay == DEFAULT_DECAY


def test_an_item_table_without_content_is_an_error(small):
    with pytest.raises(DataError, match=r"no column of the item table describes an item \(item_id, count\)"):
        ContentKNN().fit(small)


def test_a_column_that_only_cold_items_have_is_an_error():
    """The features are fitted on the items of the training part."""
    dataset = coloured()
    colours = [None] * dataset.items.warm + [["red"]] * (len(dataset.items) - dataset.items.warm)
    table = dataset.table.drop_columns(["colour"]).append_column("colour", pa.array(colours))
    with pytest.raises(DataError, match="no column of the item table describes an item"):
        ContentKNN().fit(replace(dataset, table=table))


def test_items_that_the_item_table_lacks_are_scored_by_popularity():
    """Half of the items have no colour. They are similar to nothing, and nothing fails."""
    dataset = coloured()
    half = [colour if index % 2 else None for index, colour in enumerate(dataset.table["colour"].to_pylist())]
    model = ContentKNN().fit(replace(dataset, table=dataset.table.set_column(2, "colour", pa.array(half))))
    without = dataset.items.index(dataset.items.ids[0])
    found = model.score_windows(torch.tensor([[0] * 19 + [without]]))[0]
    own = torch.zeros(len(found))
    own[without - 1] = found[without - 1] - model._tie_I[without - 1]
    torch.testing.assert_close(found, model._tie_I + own)


@pytest.mark.parametrize(
    "titles",
    [
        ["красная кружка", "赤いマグ", "كوب أحمر", "κόκκινη κούπα"],
        ["red mug", "", "   ", "red lamp"],
        ["☕", "🫖", "☕", "☕"],
    ],
    ids=["languages", "empty", "symbols"],
)
def test_titles_of_any_language_and_empty_ones_give_finite_scores(titles):
    dataset = coloured(sequences=8)
    column = pa.array([titles[index % len(titles)] for index in range(len(dataset.items))])
    table = dataset.table.drop_columns(["colour"]).append_column("title", column)
    report = evaluate(ContentKNN().fit(replace(dataset, table=table)), dataset, at=(5,))
    assert report.targets == 8


def test_an_unknown_column_is_an_error():
    with pytest.raises(ConfigError, match="the item table has no column 'color'; did you mean 'colour'"):
        ContentKNN(columns=("color",)).fit(coloured())


def test_an_empty_training_part_is_an_error():
    dataset = coloured()
    object.__setattr__(dataset, "train_end", dataset.offset[:-1])
    object.__setattr__(dataset, "valid_end", dataset.offset[:-1])
    with pytest.raises(DataError, match="the training part is empty, there is nothing to count"):
        ContentKNN().fit(dataset)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"decay": -0.1}, "decay must be at least 0, got -0.1"),
        ({"decay": 1.5}, "decay must be at most 1, got 1.5"),
    ],
)
def test_fields_out_of_range_are_rejected(fields, message):
    with pytest.raises(ConfigError) as error:
        ContentKNN(**fields)
    assert str(error.value) == message
