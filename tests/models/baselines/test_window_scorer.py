import numpy as np
import pytest
import torch
from rows import event

from reprise.data.batching import BatchPlan
from reprise.models.baselines.item_knn import ItemKNN
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity, SessionPopularity
from reprise.models.baselines.session_knn import SessionKNN
from reprise.models.batch import events_at_step, gather
from reprise.models.scorer import CountingScorer, Scorer, VectorScorer
from reprise.testing.worlds import noise

SPECS = [Popularity(), Markov(), SessionPopularity(window=3), ItemKNN(window=3), SessionKNN(window=3)]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_score_batch_equals_advance_and_scores(spec):
    """Chunks of four steps with a carried state; equal to the last bit, since rows do not depend on each other."""
    dataset = noise(items=6, sequences=9, length=11)
    model = spec.fit(dataset)
    first, last = np.asarray(dataset.offset[:-1]), np.asarray(dataset.offset[1:])
    state = expected_state = None
    for chunk in BatchPlan(first, last, events_per_batch=20, max_steps=4):
        batch = gather(dataset, chunk, first, last)
        scores, state = model.score_batch(batch, None if chunk.fresh else state)
        expected_state = model.initial_state(len(chunk.row_B)) if chunk.fresh else expected_state
        expected = []
        for step in range(batch.item_BT.shape[1]):
            expected_state = model.advance(expected_state, events_at_step(batch, step))
            expected.append(model.scores(expected_state))
        assert torch.equal(scores, torch.stack(expected, 1)[batch.target_BT != 0])
        assert all(torch.equal(state[name], expected_state[name]) for name in expected_state)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_baselines_are_counting_scorers(spec):
    dataset = noise(sequences=5)
    model = spec.fit(dataset)
    assert model.learned_from == dataset.fingerprint
    assert isinstance(model, Scorer)
    assert isinstance(model, CountingScorer)
    assert not isinstance(model, VectorScorer)
    assert model.name == str(spec)


@pytest.mark.parametrize(
    ("spec", "kept"), [(Popularity(), 0), (Markov(), 1), (SessionKNN(window=3), 3)], ids=str
)
def test_state_is_the_last_warm_items(spec, kept):
    model = spec.fit(noise(sequences=5))
    state = model.initial_state(3)
    for items in ((2, 5, 0), (0, 4, 0), (1, 1, 0), (3, 0, 0)):
        state = model.advance(state, event(*items))
    last = [[2, 1, 3], [5, 4, 1], [0, 0, 0]]
    assert state["recent_BW"].tolist() == [row[3 - kept :] for row in last]
