import math

import numpy as np
import pytest
import torch

from reprise.models.networks.event_inputs import (
    NUM_KNOTS,
    EventInputs,
    InputFeatures,
    QueryHead,
    TimeDecay,
    TimeGapEmbedding,
)

NAN = float("nan")


def test_time_gap_embedding_is_linear_between_knots() -> None:
    """The knots 0, 1, 3, 7 s have the values 0, 1, 2, 3; 5 s has log2(6)."""
    embedding = TimeGapEmbedding(1)
    embedding.knot_KD.data[:, 0] = torch.arange(NUM_KNOTS + 1)
    found = embedding(torch.tensor([0.0, 1.0, 3.0, 5.0, 7.0, 1e30, -5.0])).squeeze(1)
    expected = [0, 1, 2, math.log2(6), 3, NUM_KNOTS, 0]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-5)


def test_unknown_gap_has_a_zero_vector_and_no_gradient() -> None:
    embedding = TimeGapEmbedding(3)
    torch.nn.init.ones_(embedding.knot_KD)
    found = embedding(torch.tensor([NAN, 60.0]))
    found.sum().backward()
    assert found.tolist() == [[0.0] * 3, [1.0] * 3]
    assert embedding.knot_KD.grad is not None
    assert embedding.knot_KD.grad.sum().item() == pytest.approx(3)


def test_initial_input_depends_on_the_item_only() -> None:
    inputs = EventInputs(
        4, InputFeatures(gap=True, kinds=2, value=True, calendar=True), dropout=0.0, event_dropout=0.0
    )
    vector = torch.randn(5, 4)
    time_s = torch.full((5,), 1e9, dtype=torch.float64)
    found = inputs(
        vector, torch.full((5,), 9.0), time_s, torch.ones(5, dtype=torch.long), torch.full((5,), 2.5)
    )
    torch.testing.assert_close(found, vector * 2)


@pytest.mark.parametrize("feature", ["gap", "time", "kind", "value"])
def test_each_feature_changes_the_input(feature: str) -> None:
    torch.manual_seed(0)
    inputs = EventInputs(
        4, InputFeatures(gap=True, kinds=2, value=True, calendar=True), dropout=0.0, event_dropout=0.0
    )
    for parameter in inputs.parameters():
        torch.nn.init.normal_(parameter)
    first = {
        "gap": torch.tensor([9.0]),
        "time": torch.tensor([1e9], dtype=torch.float64),
        "kind": torch.tensor([0]),
        "value": torch.tensor([2.0]),
    }
    other = {
        "gap": torch.tensor([99.0]),
        "time": torch.tensor([NAN], dtype=torch.float64),
        "kind": torch.tensor([1]),
        "value": torch.tensor([NAN]),
    }
    vector = torch.randn(1, 4)
    before = inputs(vector, *first.values())
    after = inputs(vector, *(first | {feature: other[feature]}).values())
    assert (before - after).abs().max() > 1e-3


def test_event_dropout_hides_whole_events_in_training_only() -> None:
    torch.manual_seed(0)
    inputs = EventInputs(4, InputFeatures(), dropout=0.0, event_dropout=0.5)
    vector, zeros = torch.ones(1000, 4), torch.zeros(1000)
    hidden = inputs(vector, zeros, zeros, zeros.long(), zeros)
    kept = hidden.abs().sum(1) > 0
    assert (hidden[kept] == 2).all()
    assert 0.4 < kept.float().mean() < 0.6
    assert (inputs.eval()(vector, zeros, zeros, zeros.long(), zeros) == 2).all()


def test_query_norm_is_the_inverse_of_the_temperature() -> None:
    head = QueryHead(4, time=False, temperature=0.05)
    query = head(torch.randn(7, 4), torch.full((7,), NAN), torch.full((7,), NAN))
    torch.testing.assert_close(query.norm(dim=1), torch.full((7,), 20.0))


def test_known_request_time_changes_the_query() -> None:
    head = QueryHead(4, time=True, temperature=0.0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    hidden = torch.randn(1, 4)
    early, late, unknown = (
        head(hidden, torch.tensor([gap]), torch.tensor([1e9])) for gap in (5.0, 500.0, NAN)
    )
    assert (early - late).abs().max() > 1e-3
    torch.testing.assert_close(unknown, hidden)


def test_gap_dropout_hides_one_request_time_in_ten_in_training() -> None:
    torch.manual_seed(0)
    head = QueryHead(4, time=True, temperature=0.0)
    for parameter in head.parameters():
        torch.nn.init.ones_(parameter)
    hidden, gap_s = torch.ones(2000, 4), torch.full((2000,), 60.0)
    dropped = (head(hidden, gap_s, gap_s) == hidden).all(1)
    assert 0.07 < dropped.float().mean() < 0.13
    assert not (head.eval()(hidden, gap_s, gap_s) == hidden).any()


def test_state_decays_by_a_power_of_time() -> None:
    """With r = 0.5 the factor after 3 seconds is (1 + 3)^-0.5 = 1 / 2; it is 1 after 0 seconds or an unknown gap."""
    decay = TimeDecay(2)
    with torch.no_grad():
        decay.rate_D.fill_(float(np.log(np.expm1(0.5))))
    factor = decay(torch.tensor([0.0, 3.0, 99.0, NAN]))
    torch.testing.assert_close(factor, torch.tensor([1.0, 1 / 2, 1 / 10, 1.0]).unsqueeze(1).expand(-1, 2))


def test_initial_decay_is_small_over_a_year() -> None:
    assert 0.95 < TimeDecay(1)(torch.tensor(3e7)).item() < 1
