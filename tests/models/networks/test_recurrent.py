from typing import Any

import pytest
import torch

from reprise.config import from_dict, to_dict
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.models.networks.network import dropout_for
from reprise.models.networks.recurrent import Recurrent
from reprise.nn.blocks import ResidualBlock
from reprise.nn.cells import GRU, RNN


def test_spec_round_trip_and_names() -> None:
    spec = Recurrent(cell="gru", size=32)
    assert from_dict(to_dict(spec)) == spec
    assert str(spec) == "gru 2 x 32"
    assert str(Recurrent(cell="rnn", size=8, layers=1, residual=False)) == "rnn 1 x 8 bare"
    textbook = Recurrent(cell="rnn", size=8, activation="sigmoid", residual=False, output="tanh", skip=True)
    assert from_dict(to_dict(textbook)) == textbook
    assert str(textbook) == "rnn sigmoid 2 x 8 bare output tanh skip"


def test_bare_network_is_the_torch_layer() -> None:
    """Without residual blocks the encoder of a one-layer network equals the layer of torch."""
    torch.manual_seed(0)
    model = Recurrent(cell="gru", size=6, layers=1, residual=False).build(Sizes(items=9)).eval()
    cell = model.encoder.cells[0]
    assert isinstance(cell, GRU)
    x_BTD = torch.randn(2, 4, 6)
    encoded = model.encoder(x_BTD, model.encoder.initial_state(2), torch.ones(2, 4, dtype=torch.bool))
    torch.testing.assert_close(encoded.hidden_BTD, cell.layer(x_BTD)[0])


def test_residual_network_wraps_each_cell_in_a_block() -> None:
    model = Recurrent(cell="rnn", size=6, layers=3, attention=0).build(Sizes(items=9))
    blocks = list(model.encoder.cells)
    assert len(blocks) == 3
    assert all(isinstance(block, ResidualBlock) and isinstance(block.cell, RNN) for block in blocks)


def test_state_names_have_the_layer_as_prefix() -> None:
    model = Recurrent(cell="lstm", size=6, layers=2, attention=0, cooccurrence=0, repeats=0).build(
        Sizes(items=9)
    )
    assert set(model.initial_state(3)) == {"0.h", "0.c", "1.h", "1.c", "hidden"}


def test_cell_can_be_named_by_its_class() -> None:
    model = Recurrent(cell="reprise.nn.cells:RNN", size=6, layers=1, residual=False).build(Sizes(items=9))
    assert isinstance(model.encoder.cells[0], RNN)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            "rglur",
            r"unknown cell 'rglur' \(write your own as `module:Class`\); did you mean 'rglru'\?",
        ),
        (
            "reprise.data.dataset:Sizes",
            r"Sizes is not a cell; pass a subclass of reprise\.nn\.cells\.Cell",
        ),
    ],
)
def test_unknown_cells_are_rejected(cell: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recurrent(cell=cell).build(Sizes(items=9))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("size", 0, "size must be at least 1, got 0"), ("dropout", 1.0, "dropout must be below 1, got 1.0")],
)
def test_values_out_of_range_are_rejected(field: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recurrent(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("skip", [True, False])
def test_output_layer_with_and_without_skip(skip: bool) -> None:
    """o_t = tanh(W_o h_t + W_x x_t + b), and without skip tanh(W_o h_t + b); x is the input of the first cell."""
    torch.manual_seed(0)
    spec = Recurrent(
        cell="rnn", size=6, layers=2, residual=False, activation="relu", output="tanh", skip=skip
    )
    encoder = spec.build(Sizes(items=9)).eval().encoder
    x_BTD, valid_BT = torch.randn(2, 4, 6), torch.ones(2, 4, dtype=torch.bool)
    first, second = encoder.cells
    assert (first.activation, second.activation) == ("relu", "relu")
    hidden_BTD, _ = second.scan(
        first.scan(x_BTD, first.initial_state(2), valid_BT)[0], second.initial_state(2), valid_BT
    )
    layer = encoder.output
    sum_BTD = hidden_BTD @ layer.hidden.weight.t() + layer.hidden.bias
    if skip:
        sum_BTD = sum_BTD + x_BTD @ layer.input.weight.t()
    torch.testing.assert_close(encoder(x_BTD, encoder.initial_state(2), valid_BT)[0], torch.tanh(sum_BTD))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"cell": "gru", "activation": "relu"},
            "activation='relu' applies to the rnn cell only, and cell is 'gru'; choose cell='rnn', or omit activation",
        ),
        (
            {"skip": True},
            "skip=True connects the input to the output layer, but output='none' has no output layer; "
            "choose output='identity', 'tanh', 'relu' or 'sigmoid', or omit skip",
        ),
        (
            {"decay": True, "cell": "gru"},
            "decay=True needs a cell with a decay factor, and gru does not have one; "
            r"choose a linear cell \(rglru, lru, mingru, minlstm\), or omit decay",
        ),
    ],
)
def test_contradicting_fields_are_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recurrent(**fields).build(Sizes(items=9))


@pytest.mark.parametrize(
    ("events", "dropout"),
    [(0, 0.3), (1, 0.5), (150_000, 0.5), (300_000, 0.4), (1_200_000, 0.2), (10**9, 0.1)],
)
def test_default_dropout_decreases_with_the_size_of_the_log(events: int, dropout: float) -> None:
    assert dropout_for(events) == pytest.approx(dropout)
    model = Recurrent(size=6, layers=1).build(Sizes(items=9, events=events))
    assert model.inputs.dropout.rate == pytest.approx(dropout)
    assert model.encoder.encoder.cells[0].dropout.rate == pytest.approx(dropout)


def test_explicit_dropout_replaces_the_default() -> None:
    model = Recurrent(size=6, layers=1, dropout=0.0, item_dropout=0.1).build(Sizes(items=9, events=9))
    assert (model.inputs.dropout.rate, model.encoder.encoder.cells[0].dropout.rate) == (0.1, 0.0)
