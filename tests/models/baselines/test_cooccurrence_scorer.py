import pytest
import torch

from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.models.baselines.markov import Markov
from reprise.testing.worlds import memory, world


def test_cooccurrence_uses_events_that_a_markov_chain_ignores():
    """The next item is the one of two events ago, which only a window of events contains."""
    dataset = memory(2, sequences=200)
    chain, window = (
        evaluate(spec.fit(dataset), dataset, at=(1,)) for spec in (Markov(), Cooccurrence(window=4))
    )
    assert chain.metrics["recall@1"].value < 0.5 < window.metrics["recall@1"].value


def test_without_a_validation_part_the_parameters_keep_their_defaults():
    dataset = world([list("abcabcabc"), list("abcab")], valid=0, test=1)
    model = Cooccurrence(window=3).fit(dataset)
    index = dataset.items.index
    assert int(model.score_windows(torch.tensor([[0, index("b"), index("c")]])).argmax()) + 1 == index("a")


def test_empty_training_part_is_an_error():
    with pytest.raises(DataError, match="the training part is empty, there is nothing to count"):
        Cooccurrence().fit(world([list("ab")], valid=0, test=2))


@pytest.mark.parametrize("field", ["window", "neighbours"])
def test_fields_out_of_range_are_rejected(field):
    with pytest.raises(ConfigError, match=f"{field} must be at least 1, got 0"):
        Cooccurrence(**{field: 0})
