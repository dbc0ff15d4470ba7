import torch
from torch.nn.functional import scaled_dot_product_attention

import reprise.nn.attention as attention_module
from reprise.nn.attention import WindowAttention, last_window, sliding_window


def test_sliding_window_mask() -> None:
    """Window 2, three steps: step t sees the positions t + 1 and t + 2."""
    position_TS, inside_TS = sliding_window(3, 2, torch.device("cpu"))
    assert inside_TS.long().tolist() == [[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]
    assert position_TS[inside_TS].tolist() == [0, 1, 0, 1, 0, 1]


def test_last_window_skips_padding() -> None:
    rows_BS = torch.arange(10).reshape(2, 5)
    valid_BT = torch.tensor([[True, True, True], [True, False, False]])
    assert last_window(rows_BS, valid_BT, 2).tolist() == [[3, 4], [6, 7]]


def test_last_window_of_rows_without_a_past_begins_with_zeros() -> None:
    rows_BT = torch.arange(1, 7).reshape(2, 3)
    valid_BT = torch.tensor([[True, True, True], [True, False, False]])
    assert last_window(rows_BT, valid_BT, 2).tolist() == [[2, 3], [0, 4]]
    assert last_window(rows_BT.unsqueeze(-1), valid_BT, 4).squeeze(-1).tolist() == [
        [0, 1, 2, 3],
        [0, 0, 0, 4],
    ]


def test_window_attention_matches_torch_attention() -> None:
    torch.manual_seed(0)
    cell = WindowAttention(8, 2, 3).double()
    x_BTD, valid_BT = torch.randn(2, 6, 8).double(), torch.ones(2, 6, dtype=torch.bool)
    query, key, value = (
        part.reshape(2, 6, 2, 4).transpose(1, 2) for part in cell.input(x_BTD).chunk(3, dim=-1)
    )
    apart_TT = torch.arange(6)[:, None] - torch.arange(6)
    bias_HTT = cell.distance[:, (2 - apart_TT).clamp(0, 2)]
    bias_HTT = bias_HTT.masked_fill((apart_TT < 0) | (apart_TT > 2), -torch.inf)
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=bias_HTT.expand(2, -1, -1, -1))
    expected = cell.output(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(cell.scan(x_BTD, cell.initial_state(2), valid_BT)[0], expected)


def test_block_size_does_not_change_the_result(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    cell = WindowAttention(6, 2, 3)
    x_BTD, valid_BT = torch.randn(2, 9, 6), torch.ones(2, 9, dtype=torch.bool)
    whole, _ = cell.scan(x_BTD, cell.initial_state(2), valid_BT)
    monkeypatch.setattr(attention_module, "QUERY_BLOCK", 4)
    torch.testing.assert_close(cell.scan(x_BTD, cell.initial_state(2), valid_BT)[0], whole)
