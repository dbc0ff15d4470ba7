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


def test_a_function_of_a_gap_is_straight_between_its_knots() -> None:
    """Knots at 0, 1, 3, 7 s: values 0, 1, 2, 3; 5 s lies log2(6) along."""
    function = TimeGapEmbedding(1)
    function.knot_KD.data[:, 0] = torch.arange(NUM_KNOTS + 1)
    found = function(torch.tensor([0.0, 1.0, 3.0, 5.0, 7.0, 1e30, -5.0])).squeeze(1)
    expected = [0, 1, 2, math.log2(6), 3, NUM_KNOTS, 0]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-5)


def test_an_unknown_gap_is_zero_and_teaches_nothing() -> None:
    function = TimeGapEmbedding(3)
    torch.nn.init.ones_(function.knot_KD)
    found = function(torch.tensor([NAN, 60.0]))
    found.sum().backward()
    assert found.tolist() == [[0.0] * 3, [1.0] * 3]
    assert function.knot_KD.grad is not None
    assert function.knot_KD.grad.sum().item() == pytest.approx(3)


def test_at_the_start_only_the_item_is_read() -> None:
    inputs = EventInputs(4, InputFeatures(gap=True, kinds=2, value=True), dropout=0.0, event_dropout=0.0)
    vector = torch.randn(5, 4)
    found = inputs(vector, torch.full((5,), 9.0), torch.ones(5, dtype=torch.long), torch.full((5,), 2.5))
    torch.testing.assert_close(found, vector * 2)


@pytest.mark.parametrize("part", ["gap", "kind", "value"])
def test_each_part_is_read(part: str) -> None:
    torch.manual_seed(0)
    inputs = EventInputs(4, InputFeatures(gap=True, kinds=2, value=True), dropout=0.0, event_dropout=0.0)
    for parameter in inputs.parameters():
        torch.nn.init.normal_(parameter)
    given = {"gap": torch.tensor([9.0]), "kind": torch.tensor([0]), "value": torch.tensor([2.0])}
    other = {"gap": torch.tensor([99.0]), "kind": torch.tensor([1]), "value": torch.tensor([NAN])}
    vector = torch.randn(1, 4)
    before = inputs(vector, *given.values())
    after = inputs(vector, *(given | {part: other[part]}).values())
    assert (before - after).abs().max() > 1e-3


def test_hidden_events_are_hidden_whole_and_only_while_training() -> None:
    torch.manual_seed(0)
    inputs = EventInputs(4, InputFeatures(), dropout=0.0, event_dropout=0.5)
    vector, zeros = torch.ones(1000, 4), torch.zeros(1000)
    hidden = inputs(vector, zeros, zeros.long(), zeros)
    kept = hidden.abs().sum(1) > 0
    assert (hidden[kept] == 2).all()
    assert 0.4 < kept.float().mean() < 0.6
    assert (inputs.eval()(vector, zeros, zeros.long(), zeros) == 2).all()


def test_with_a_temperature_a_query_has_its_inverse_as_length() -> None:
    head = QueryHead(4, time=False, temperature=0.05)
    query = head(torch.randn(7, 4), torch.full((7,), NAN))
    torch.testing.assert_close(query.norm(dim=1), torch.full((7,), 20.0))


def test_the_moment_of_asking_moves_the_query_where_it_is_known() -> None:
    head = QueryHead(4, time=True, temperature=0.0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    hidden = torch.randn(1, 4)
    told, later, untold = (head(hidden, torch.tensor([gap])) for gap in (5.0, 500.0, NAN))
    assert (told - later).abs().max() > 1e-3
    torch.testing.assert_close(untold, hidden)


def test_one_moment_of_asking_in_ten_is_hidden_while_training() -> None:
    torch.manual_seed(0)
    head = QueryHead(4, time=True, temperature=0.0)
    for parameter in head.parameters():
        torch.nn.init.ones_(parameter)
    hidden, gap_s = torch.ones(2000, 4), torch.full((2000,), 60.0)
    untold = (head(hidden, gap_s) == hidden).all(1)
    assert 0.07 < untold.float().mean() < 0.13
    assert not (head.eval()(hidden, gap_s) == hidden).any()


def test_a_state_fades_with_a_power_of_time() -> None:
    """r = 0.5: after 3 seconds (1 + 3)^-0.5 = 1/2 is left; nothing is lost at once, or of a gap that is not known."""
    decay = TimeDecay(2)
    with torch.no_grad():
        decay.rate_D.fill_(float(np.log(np.expm1(0.5))))
    left = decay(torch.tensor([0.0, 3.0, 99.0, NAN]))
    torch.testing.assert_close(left, torch.tensor([1.0, 1 / 2, 1 / 10, 1.0]).unsqueeze(1).expand(-1, 2))


def test_a_fresh_decay_is_almost_none() -> None:
    assert 0.95 < TimeDecay(1)(torch.tensor(3e7)).item() < 1
