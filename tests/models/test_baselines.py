import numpy as np
import pytest
import torch

from reprise.data.chunks import ChunkPlan
from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluate import evaluate
from reprise.models.baselines import Markov, Popularity, Transitions, last_items
from reprise.models.batch import Event, event_at, gather
from reprise.models.scorer import Scorer, VectorScorer
from reprise.testing.worlds import cycle, memory, noise, world


def event(*items: int) -> Event:
    rows = len(items)
    return Event(
        torch.tensor(items),
        torch.zeros(rows, dtype=torch.float64),
        torch.zeros(rows, dtype=torch.int64),
        torch.full((rows,), float("nan")),
    )


@pytest.fixture
def small():
    """Training parts a b a b and a a c; items by count: a 4, b 2, c 1; transitions ab 2, ba 1, aa 1, ac 1."""
    return world([list("ababcc"), list("aaccc")], valid=1, test=1)


def test_popularity_is_the_share_of_training_events(small):
    assert small.items.ids.tolist() == ["a", "b", "c"]
    scores = Popularity().fit(small).scores({"none_B0": torch.zeros(2, 0)})
    assert scores.tolist() == [[4 / 7, 2 / 7, 1 / 7]] * 2


def test_popularity_forgets_nothing_and_learns_nothing(small):
    model = Popularity().fit(small)
    state = model.initial_state(2)
    assert torch.equal(model.scores(model.advance(state, event(1, 3))), model.scores(state))
    assert len(model.scores(model.initial_state(5))) == 5


def test_the_markov_formula(small):
    """After a: c_a = 4, of which b 2, a 1, c 1; a prior of weight 3."""
    model = Markov(smoothing=3).fit(small)
    found = model.scores({"last_B": torch.tensor([1])})[0]
    assert found.tolist() == pytest.approx(
        [(1 + 3 * 4 / 7) / (4 + 3), (2 + 3 * 2 / 7) / (4 + 3), (1 + 3 * 1 / 7) / (4 + 3)]
    )


def test_markov_scores_are_a_distribution(small):
    model = Markov(0.5).fit(small)
    assert model.scores({"last_B": torch.arange(4)}).sum(1).tolist() == pytest.approx([1] * 4)


def test_without_history_and_after_a_dead_end_a_chain_is_popularity(small):
    """Nothing follows c in training."""
    model, shares = Markov(2).fit(small), [4 / 7, 2 / 7, 1 / 7]
    assert model.scores(model.initial_state(1))[0].tolist() == pytest.approx(shares)
    assert model.scores({"last_B": torch.tensor([3])})[0].tolist() == pytest.approx(shares)


def test_a_chain_remembers_the_last_item_it_knows():
    model = Markov()
    state = model.advance(model.initial_state(3), event(2, 5, 0))
    assert model.advance(state, event(0, 4, 0))["last_B"].tolist() == [2, 4, 0]


def test_last_items_carry_over_padding():
    found = last_items(torch.tensor([[0, 3, 0, 2], [0, 0, 0, 0]]), torch.tensor([7, 8]))
    assert found.tolist() == [[7, 3, 3, 2], [8, 8, 8, 8]]


@pytest.mark.parametrize("make", [Popularity, Markov, Transitions])
def test_a_batch_equals_the_fold(make):
    """Over chunks of four steps, with the state carried."""
    dataset = noise(items=6, sequences=9, length=11)
    model = make().fit(dataset)
    first, last = np.asarray(dataset.offset[:-1]), np.asarray(dataset.offset[1:])
    state = fold = None
    for chunk in ChunkPlan(first, last, tokens=20, length=4):
        batch = gather(dataset, chunk, first, last)
        scores, state = model.score_batch(batch, None if chunk.fresh else state)
        fold = model.initial_state(len(chunk.row_B)) if chunk.fresh else fold
        expected = []
        for step in range(batch.item_BT.shape[1]):
            fold = model.advance(fold, event_at(batch, step))
            expected.append(model.scores(fold))
        # alike and not equal: what is added to a score is a sum, in float32
        torch.testing.assert_close(
            scores, torch.stack(expected, 1)[batch.target_BT != 0], rtol=1e-5, atol=1e-6
        )
        assert all(torch.equal(state[name], fold[name]) for name in fold)


@pytest.mark.parametrize("make", [Popularity, Markov, Transitions])
def test_they_are_scorers(make):
    assert isinstance(make(), Scorer)
    assert not isinstance(make(), VectorScorer)


@pytest.mark.parametrize("make", [Popularity, Markov, Transitions])
def test_not_fitted(make):
    with pytest.raises(ConfigError) as error:
        make().scores(make().initial_state(1))
    assert str(error.value) == f"{make.name} is not fitted; call {make.name}().fit(dataset) first"


@pytest.mark.parametrize("make", [Popularity, Markov, Transitions])
def test_an_empty_training_part(make):
    dataset = world([list("ab")], valid=0, test=2)
    with pytest.raises(DataError, match="the training part is empty, there is nothing to count"):
        make().fit(dataset)


@pytest.mark.parametrize("smoothing", [0, -1, float("inf"), float("nan")])
def test_impossible_smoothing(smoothing):
    with pytest.raises(ConfigError, match="smoothing must be a positive number, got"):
        Markov(smoothing)


def test_a_cycle_is_learnt():
    dataset = cycle(items=5)
    model = Markov().fit(dataset)
    index = dataset.items.index
    scores = model.scores({"last_B": torch.tensor([index("i3"), index("i4")])})
    assert (scores.argmax(1) + 1).tolist() == [index("i4"), index("i0")]


def test_transitions_remember_what_a_chain_cannot():
    """What comes next was seen two events ago: nothing to a chain of one, all to a window."""
    dataset = memory(2, sequences=200)
    chain, window = (
        evaluate(model.fit(dataset), dataset, at=(1,)) for model in (Markov(), Transitions(window=4))
    )
    assert chain.metrics["recall@1"].value < 0.5 < window.metrics["recall@1"].value


def test_transitions_without_a_validation_part_keep_their_defaults():
    dataset = world([list("abcabcabc"), list("abcab")], valid=0, test=1)
    model = Transitions(window=3).fit(dataset)
    index = dataset.items.index
    recent_BW = torch.tensor([[0, index("b"), index("c")]])
    assert int(model.scores({"recent_BW": recent_BW}).argmax()) + 1 == index("a")


def test_impossible_windows():
    with pytest.raises(ConfigError, match="window and neighbours must be at least 1, got 0 and 128"):
        Transitions(window=0)
