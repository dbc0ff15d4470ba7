import pytest
import torch

from reprise.errors import ConfigError, DataError
from reprise.models.baselines.markov import Markov
from reprise.testing.worlds import cycle, world


@pytest.fixture
def small():
    """Before the test part a b a b and a a c; items by count: a 4, b 2, c 1; transitions ab 2, ba 1, aa 1, ac 1."""
    return world([list("ababc"), list("aacc")], valid=0, test=1)


def test_scores_match_the_formula(small):
    """After a: c_a = 4, with b 2, a 1 and c 1, and a prior of weight 3."""
    model = Markov(smoothing=3).fit(small)
    found = model.score_windows(torch.tensor([[1]]))[0]
    assert found.tolist() == pytest.approx(
        [(1 + 3 * 4 / 7) / (4 + 3), (2 + 3 * 2 / 7) / (4 + 3), (1 + 3 * 1 / 7) / (4 + 3)]
    )


def test_scores_sum_to_one(small):
    assert Markov(0.5).fit(small).score_windows(torch.arange(4)[:, None]).sum(1).tolist() == pytest.approx(
        [1] * 4
    )


def test_scores_are_popularity_without_a_counted_successor(small):
    """An empty history, and c, which nothing follows."""
    model, shares = Markov(2).fit(small), [4 / 7, 2 / 7, 1 / 7]
    assert model.scores(model.initial_state(1))[0].tolist() == pytest.approx(shares)
    assert model.score_windows(torch.tensor([[3]]))[0].tolist() == pytest.approx(shares)


def test_transitions_of_the_validation_part_are_counted_for_the_test_part():
    """c follows a in the validation part only."""
    dataset = world([list("abacb"), list("cbabb")], valid=1, test=1)
    model = Markov(0.001).fit(dataset)
    a, c = dataset.items.index("a"), dataset.items.index("c")
    known = float(model.score_windows(torch.tensor([[a]]))[0, c - 1])
    model.count(dataset, before="valid")
    assert float(model.score_windows(torch.tensor([[a]]))[0, c - 1]) < 0.01 < known


@pytest.mark.parametrize("smoothing", [0, -1])
def test_smoothing_must_be_positive(smoothing):
    with pytest.raises(ConfigError, match=f"smoothing must be above 0, got {smoothing}"):
        Markov(smoothing)


def test_empty_training_part_is_an_error():
    with pytest.raises(DataError, match="the training part is empty, there is nothing to count"):
        Markov().fit(world([list("ab")], valid=0, test=2))


def test_markov_chain_learns_a_cycle():
    dataset = cycle(items=5)
    model = Markov().fit(dataset)
    index = dataset.items.index
    scores = model.score_windows(torch.tensor([[index("i3")], [index("i4")]]))
    assert (scores.argmax(1) + 1).tolist() == [index("i4"), index("i0")]
