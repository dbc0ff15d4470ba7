"""The contract checks of `reprise.testing`: built-in classes pass, broken classes fail."""

from dataclasses import replace

import pytest
import torch

from reprise.data.dataset import Part
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.models.baselines.item_knn import ItemKNN
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity, RecentPopularity, SessionPopularity
from reprise.models.baselines.session_knn import SessionKNN
from reprise.models.networks.adversarial import Adversarial
from reprise.models.networks.autoencoder import Autoencoder
from reprise.models.networks.convolutional import Caser, Convolution
from reprise.models.networks.feed_forward import FeedForward
from reprise.models.networks.network import Network
from reprise.models.networks.recurrent import CELLS, Output, Recurrent
from reprise.models.networks.transformer import Transformer
from reprise.models.scorer import CountingScorer, Fittable
from reprise.nn.attention import WindowAttention
from reprise.nn.blocks import GatedBranch, ResidualBlock
from reprise.nn.cells import RNN, Activation, Cell
from reprise.nn.dilated_convolution import DilatedConvolution
from reprise.nn.linear_cells import MinGRU
from reprise.testing import worlds
from reprise.testing.contracts import check_cell, check_encoder, check_loss, check_scorer
from reprise.training.losses.full_softmax import FullSoftmax
from reprise.training.losses.loss import Loss
from reprise.training.losses.negatives import Negatives
from reprise.training.losses.sampled_losses import GBCE, BPRMax, SampledSoftmax, Softmax, TOP1Max

LOSSES: list[Loss] = [
    FullSoftmax(),
    FullSoftmax(label_smoothing=0.1),
    SampledSoftmax(),
    Softmax(Negatives(count=30)),
    Softmax(Negatives(count=30), max_full_items=0),
    BPRMax(),
    TOP1Max(),
    GBCE(),
]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
def test_cells_keep_the_contract(name: str, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    check_cell(CELLS[name](6).to(dtype), 6, tolerance=tolerance)


@pytest.mark.parametrize("name", CELLS)
def test_blocks_keep_the_contract_of_cells(name: str) -> None:
    torch.manual_seed(0)
    check_cell(ResidualBlock(CELLS[name](6), dropout=0.5), 6)


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
def test_elman_networks_with_other_activations(
    activation: Activation, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    check_cell(RNN(6, activation).to(dtype), 6, tolerance=tolerance)


@pytest.mark.parametrize("name", [name for name, make in CELLS.items() if make.linear])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
def test_gated_branches_of_linear_cells_keep_the_contract(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    branch = GatedBranch(CELLS[name](6))
    with torch.no_grad():
        branch.shift[1] = 0.5
    check_cell(ResidualBlock(branch, dropout=0.5).to(dtype), 6, tolerance=tolerance)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("residual", [True, False])
def test_recurrent_networks_keep_the_contract(cell: str, residual: bool) -> None:
    dataset = worlds.memory(2, sequences=20)
    torch.manual_seed(0)
    model = Recurrent(cell=cell, size=8, layers=2, residual=residual).build(dataset.sizes).eval()
    check_encoder(model.encoder, 8)
    check_scorer(model, dataset)


@pytest.mark.parametrize("output", ["identity", "tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("skip", [True, False])
def test_recurrent_networks_with_an_output_layer_keep_the_contract(output: Output, skip: bool) -> None:
    dataset = worlds.memory(2, sequences=20)
    torch.manual_seed(0)
    spec = Recurrent(cell="rnn", size=8, residual=False, activation="relu", output=output, skip=skip)
    model = spec.build(dataset.sizes).eval()
    check_encoder(model.encoder, 8)
    check_scorer(model, dataset)


OPTIONS: list[dict[str, object]] = [
    {"temperature": 0.1},
    {"attention": 3, "alignment": "dot"},
    {"attention": 3, "alignment": "additive"},
    {"cooccurrence": 4},
    {"gaps": True, "query_time": True, "kinds": True, "values": True},
]
NO_OPTIONS = {"temperature": 0.0, "attention": 0, "cooccurrence": 0, "repeats": 0}


@pytest.mark.parametrize(
    "fields", [*OPTIONS, {name: value for one in OPTIONS for name, value in one.items()}]
)
@pytest.mark.parametrize("cell", ["gru", "rglru"])
def test_recurrent_networks_with_options_keep_the_contract(fields: dict[str, object], cell: str) -> None:
    dataset = worlds.memory(2, sequences=20)
    torch.manual_seed(0)
    model = Recurrent(cell=cell, size=8, layers=1, **{**NO_OPTIONS, **fields}).build(dataset.sizes).eval()  # type: ignore[arg-type]
    for parameter in model.parameters():
        if not parameter.abs().sum():  # parameters that start at 0 would hide errors
            torch.nn.init.normal_(parameter)
    model.count(dataset)
    check_encoder(model.encoder, 8)
    check_scorer(model, dataset)


@pytest.mark.parametrize("cell", ["rglru", "lru", "mingru", "minlstm"])
@pytest.mark.parametrize("attention", [0, 3])
def test_networks_with_state_decay_keep_the_contract(cell: str, attention: int) -> None:
    dataset = worlds.memory(2, sequences=20)
    torch.manual_seed(0)
    model = (
        Recurrent(cell=cell, size=8, layers=2, decay=True, attention=attention).build(dataset.sizes).eval()
    )
    assert model.decay is not None
    torch.nn.init.normal_(model.decay.rate_D)
    check_scorer(model, dataset)


FAMILIES: list[Network | Adversarial] = [
    FeedForward(size=8, window=3),
    FeedForward(size=8, window=3, combine="average"),
    Convolution(size=8),
    Convolution(size=8, kernel=2, dilations=(1,)),
    Caser(size=8, window=4),
    Caser(size=8, window=4, heights=(2, 3), horizontal=2, vertical=1),
    Autoencoder(size=8, latent=4),
    Autoencoder(size=8, latent=4, variational=False),
    Transformer(size=8, window=3),
    Transformer(size=8, window=100, heads=4),
    Transformer(size=8, window=4, causal=False),
    Adversarial(Recurrent(size=8)),
    Adversarial(Transformer(size=8, window=3)),
]


@pytest.mark.parametrize("spec", FAMILIES, ids=str)
@pytest.mark.parametrize("inputs", [{}, {"gaps": True, "query_time": True, "kinds": True, "values": True}])
def test_every_network_family_keeps_the_contract(
    spec: Network | Adversarial, inputs: dict[str, bool]
) -> None:
    dataset = worlds.memory(2, sequences=20)
    torch.manual_seed(0)
    fields = {"generator": replace(spec.generator, **inputs)} if isinstance(spec, Adversarial) else inputs
    model = replace(spec, **fields).build(dataset.sizes)
    for parameter in model.parameters():
        if not parameter.abs().sum():  # parameters that start at 0 would hide errors
            torch.nn.init.normal_(parameter)
    model.eval().count(dataset)
    check_encoder(model.encoder, 8)
    check_scorer(model, dataset)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_keeps_the_contract_of_cells(heads: int) -> None:
    torch.manual_seed(0)
    check_cell(WindowAttention(6, heads, 3), 6)
    check_cell(WindowAttention(6, heads, 70).double(), 6, tolerance=1e-10)


@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (3, 2), (3, 4)])
def test_convolution_keeps_the_contract_of_cells(kernel: int, dilation: int) -> None:
    torch.manual_seed(0)
    check_cell(DilatedConvolution(6, kernel, dilation), 6)


BASELINES: list[Fittable] = [
    Popularity(),
    RecentPopularity(),
    RecentPopularity(half_life="5min"),
    SessionPopularity(),
    SessionPopularity(window=2),
    Markov(),
    Cooccurrence(),
    ItemKNN(),
    ItemKNN(window=1, neighbours=3, repeat_weight=0.0),
    SessionKNN(),
    SessionKNN(window=3, sessions=7, neighbours=4, half_life="5min", repeat_weight=0.5, length=5),
    SessionKNN(spread=None),
]


@pytest.mark.parametrize("spec", BASELINES, ids=str)
@pytest.mark.parametrize("part", ["valid", "test"])
def test_baselines_keep_the_contract(spec: Fittable, part: Part) -> None:
    dataset = worlds.noise(sequences=30)
    scorer = spec.fit(dataset)
    assert isinstance(scorer, CountingScorer)
    check_scorer(scorer, dataset, part=part)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_losses_keep_the_contract(loss: Loss) -> None:
    check_loss(loss)


class LooksAhead(Cell):
    """A cell that breaks the contract: its scan reads later events, through the mean of the row."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.weight = torch.nn.Parameter(torch.ones(size))

    def initial_state(self, batch: int) -> dict[str, torch.Tensor]:
        return {"h": torch.zeros(batch, self.size)}

    def scan(self, x_BTD, state, valid_BT):  # type: ignore[no-untyped-def]
        return x_BTD * self.weight + x_BTD.mean(1, keepdim=True), state

    def step(self, x_BD, state):  # type: ignore[no-untyped-def]
        return x_BD * self.weight, state


def test_a_cell_whose_scan_differs_from_its_steps_fails() -> None:
    with pytest.raises(AssertionError, match="step 0 differs from the scan of all steps"):
        check_cell(LooksAhead(4), 4)


class Mean:
    """A loss that breaks the contract: it is a mean over the targets."""

    negatives = None

    def __call__(self, query_ND, items, target_N, sample=None):  # type: ignore[no-untyped-def]
        return FullSoftmax()(query_ND, items, target_N, sample) / len(target_N)


class NoItemGradient(Mean):
    """A loss that breaks the contract: the item vectors have no gradient."""

    def __call__(self, query_ND, items, target_N, sample=None):  # type: ignore[no-untyped-def]
        return (query_ND * items.scoring_rows(target_N).detach()).sum()


class Overflow(Mean):
    """A loss that breaks the contract: its exponentials overflow."""

    def __call__(self, query_ND, items, target_N, sample=None):  # type: ignore[no-untyped-def]
        total = FullSoftmax()(query_ND, items, target_N, sample)
        return total + (query_ND * items.scoring_rows(target_N)).sum(1).exp().sum()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Mean(), "a loss must be a sum over targets; the losses of the first 4 and the other 6"),
        (NoItemGradient(), "no gradient reaches the item vectors"),
        (Overflow(), "is not finite for queries of about 10000"),
    ],
)
def test_a_broken_loss_fails_with_the_broken_part_of_the_contract(loss: Loss, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_loss(loss)


class ScanWithoutDecay(MinGRU):
    """A cell that breaks the contract: its scan ignores the decay."""

    def scan(self, x_BTD, state, valid_BT, decay_BTD=None):  # type: ignore[no-untyped-def]
        return super().scan(x_BTD, state, valid_BT)


def test_a_cell_whose_scan_ignores_the_decay_fails() -> None:
    with pytest.raises(AssertionError, match="with decay, step 0 differs from the scan of all steps"):
        check_cell(ScanWithoutDecay(4), 4)


class DecaysTheInput(MinGRU):
    """A cell that breaks the contract: it applies the decay to the input."""

    def step(self, x_BD, state, decay_BD=None):  # type: ignore[no-untyped-def]
        return super().step(x_BD if decay_BD is None else x_BD * decay_BD, state)


def test_a_cell_that_applies_the_decay_to_its_input_fails() -> None:
    with pytest.raises(AssertionError, match="step must multiply the state by the decay"):
        check_cell(DecaysTheInput(4), 4)
