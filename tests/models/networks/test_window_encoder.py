import torch

import reprise.models.networks.window_encoder as window_module
from reprise.models.networks.feed_forward import FeedForwardEncoder


def test_only_wanted_steps_are_encoded_and_the_state_is_unchanged() -> None:
    torch.manual_seed(0)
    encoder = FeedForwardEncoder(6, 3, "concatenation", layers=1, dropout=0.0)
    x_BTD, valid_BT = torch.randn(2, 5, 6), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    wanted_BT = torch.tensor([[False, True, False, False, True], [True, False, False, False, True]])
    all_steps = encoder(x_BTD, encoder.initial_state(2), valid_BT)
    some = encoder(x_BTD, encoder.initial_state(2), valid_BT, wanted_BT=wanted_BT)
    seen_BT = wanted_BT & valid_BT
    torch.testing.assert_close(some.hidden_BTD[seen_BT], all_steps.hidden_BTD[seen_BT])
    assert not some.hidden_BTD[~seen_BT].any()
    for name, tensor in all_steps.state.items():
        torch.testing.assert_close(some.state[name], tensor)


def test_chunk_size_does_not_change_the_result(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    encoder = FeedForwardEncoder(6, 3, "average", layers=1, dropout=0.0)
    x_BTD, valid_BT = torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)
    whole = encoder(x_BTD, encoder.initial_state(2), valid_BT).hidden_BTD
    monkeypatch.setattr(window_module, "ELEMENTS_PER_CHUNK", 3 * 6 * 4)
    torch.testing.assert_close(encoder(x_BTD, encoder.initial_state(2), valid_BT).hidden_BTD, whole)
