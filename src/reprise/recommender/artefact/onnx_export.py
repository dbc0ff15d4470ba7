"""From a torch network to the pieces of an artefact. The only module of this floor that needs torch.

Shape letters: B users, I items, D width.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from reprise.arrays import AnyArray
from reprise.config import to_dict
from reprise.data.dataset import SequenceDataset, Sizes
from reprise.errors import ArtefactError, ConfigError
from reprise.models.batch import Event
from reprise.models.cooccurrence.correction import CooccurrenceCorrection
from reprise.recommender.artefact.artefact import INITIAL, INPUT, OUTPUT, TRANSITIONS, Artefact
from reprise.recommender.artefact.provenance import describe_data
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import NOW, OF_EVENT, QUERY, STATE_IN, STATE_OUT, VECTOR

TOLERANCE = {"float32": 3e-5, "float64": 1e-12, "int64": 0.0}
"""Largest difference between torch and ONNX, against the largest number of the tensor or 1."""
LONGEST_S = 1e7
"""Longest time between two events of a check: some four months."""
CHECKED_STEPS = 32
CHECKED_BATCHES = (1, 5)
"""How many events of how many users every export is compared on."""

TorchState = dict[str, Tensor]


@runtime_checkable
class Exportable(Protocol):
    """What a network must have to become a recommender; `SequenceModel` has it."""

    name: str
    """How tables and reports call it."""
    spec: Any
    """The spec it was built from."""
    sizes: Sizes
    """What it was built for."""

    reads: tuple[str, ...]
    """What it uses besides vectors: of `item`, `time_s`, `kind` and `value` of an event, and of `now_s` of a question."""
    transitions: CooccurrenceCorrection | None
    """Added to the products of queries and vectors, after the items of the state's `recent`."""

    def initial_state(self, batch: int) -> TorchState:
        """The state of `batch` users without events: named tensors [B, ...] of float32, float64 or int64."""
        ...

    def advance_vector(self, state: TorchState, x_BD: Tensor, event: Event) -> TorchState:
        """The state after an event whose item has this raw vector; of the event only what `reads` names means anything."""
        ...

    def query(self, state: TorchState, now_s_B: Tensor | None = None) -> Tensor:
        """What is compared with the item vectors, q_BD; None or NaN: the moment of asking is not known."""
        ...

    def scores(self, state: TorchState, now_s_B: Tensor | None = None) -> Tensor:
        """The products of queries and vectors and what is added to them, s_BI: what the export is held against."""
        ...

    def input_vectors(self) -> Tensor:
        """The raw vectors that are read, [I, D]."""
        ...

    def item_vectors(self) -> Tensor:
        """The vectors that score, [I, D']."""
        ...


def export(model: object, dataset: SequenceDataset, training: Mapping[str, Any] | None = None) -> Artefact:
    """Turn a trained network into an artefact, and check that both compute the same.

    Args:
        model: A `SequenceModel`, or anything with the methods of `Exportable`. It is left as it is.
        dataset: What it was trained on: its ids, its item table and its fingerprint go along, its events do not.
        training: Facts about the training for the model card.

    Raises:
        ConfigError: the model is no network, or not one for this dataset.
        ArtefactError: the network cannot be written as ONNX, or computes something else there.
    """
    network = _checked(model, dataset)
    frozen = _frozen(network)
    tensors = _tensors(frozen)
    with torch.no_grad(), _quiet():
        step, query = _onnx(frozen)
    artefact = Artefact(_facts(network, dataset, training), tensors, step, query, dataset.table)
    check_same(frozen, artefact)
    return artefact


def check_same(network: Exportable, artefact: Artefact) -> None:
    """Compare torch and ONNX on random histories, after each event, with and without a moment of asking.

    Raises:
        ArtefactError: a state or a score differs by more than `TOLERANCE`, or a score is not finite.
    """
    exported = OnnxNetwork.open(artefact)
    for batch in CHECKED_BATCHES:
        torch_state, state = network.initial_state(batch), exported.runtime.initial_state(batch)
        for events, now_s_B in _random_events(network.sizes, batch):
            # both step from the same state: rounding that grows with the steps is no other meaning of an operation
            state = exported.advance(state, events)
            x_BD = torch.from_numpy(artefact.input_ID[events.item - 1])
            with torch.no_grad():
                torch_state = network.advance_vector(
                    torch_state, x_BD, Event(*map(torch.from_numpy, events.columns))
                )
                asked_BI = network.scores(torch_state, torch.from_numpy(now_s_B)).numpy()
                unasked_BI = network.scores(torch_state).numpy()
            for name, array in state.items():
                _check_near(f"state {name!r}", array, torch_state[name].numpy())
            state = {name: torch_state[name].numpy() for name in state}
            _check_near("the scores", exported.scores(state), unasked_BI)
            _check_near("the scores at a moment", exported.scores(state, now_s_B), asked_BI)


def _random_events(sizes: Sizes, batch: int) -> Iterator[tuple[EventArrays, AnyArray]]:
    """Events of `batch` users, and moments after each of them; times and values are not always known."""
    generator = np.random.default_rng(0)

    def some(known_B: AnyArray) -> AnyArray:
        return np.where(generator.random(batch) < 0.2, np.nan, known_B)

    def later(time_s_B: AnyArray) -> AnyArray:
        gap_s_B = LONGEST_S ** generator.random(batch)
        return time_s_B + np.where(generator.random(batch) < 0.2, 0.0, gap_s_B)

    time_s_B = np.full(batch, 1e9)
    for _ in range(CHECKED_STEPS):
        time_s_B = later(time_s_B)
        value_B = some(100.0 * generator.standard_normal(batch)).astype(np.float32)
        item_B, kind_B = (
            generator.integers(*ends, batch) for ends in ((1, sizes.items + 1), (0, sizes.kinds))
        )
        yield EventArrays(item_B, some(time_s_B), kind_B, value_B), some(later(time_s_B))


class _Step(nn.Module):
    """`advance_vector` with the state, and what is read of an event, as a tuple, as a graph wants it."""

    def __init__(self, network: Any, state: tuple[str, ...], reads: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.state, self.reads = network, state, reads

    def forward(self, x_BD: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        state, read = _named(given, self.state, self.reads)
        after = self.network.advance_vector(state, x_BD, _event(x_BD, read))
        return tuple(after[name] for name in self.state)


class _Query(nn.Module):
    """`query` with the state, and the moment of asking where it is used, as a tuple."""

    def __init__(self, network: Any, state: tuple[str, ...], reads: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.state, self.reads = network, state, reads

    def forward(self, *given: Tensor) -> Tensor:
        state, read = _named(given, self.state, self.reads)
        query_BD: Tensor = self.network.query(state, read.get(NOW))
        return query_BD


def _named(
    given: tuple[Tensor, ...], state: tuple[str, ...], reads: tuple[str, ...]
) -> tuple[TorchState, TorchState]:
    named = dict(zip(reads, given[len(state) :], strict=True))
    return dict(zip(state, given[: len(state)], strict=True)), named


def _event(x_BD: Tensor, read: TorchState) -> Event:
    """An event with what is read; the rest is filled in, and no graph depends on it."""
    zero_B = torch.zeros_like(x_BD[:, 0])
    filled = {
        "item": zero_B.long(),
        "time_s": zero_B.double() + torch.nan,
        "kind": zero_B.long(),
        "value": zero_B + torch.nan,
    }
    return Event(*(read.get(name, filled[name]) for name in OF_EVENT))


def _checked(model: object, dataset: SequenceDataset) -> Exportable:
    if not (isinstance(model, nn.Module) and isinstance(model, Exportable)):
        raise ConfigError(
            f"a Recommender is made from a trained network, got {type(model).__name__}; "
            "train one with `reprise.train`, or pass an nn.Module with the methods of reprise.recommender.Exportable"
        )
    if model.sizes.items != dataset.items.warm:
        raise ConfigError(
            f"the network has vectors for {model.sizes.items} items, the dataset has {dataset.items.warm} warm ones; "
            "pass the dataset it was trained on"
        )
    if "kind" in model.reads and model.sizes.kinds != len(dataset.kinds):
        raise ConfigError(
            f"the network reads {model.sizes.kinds} kinds of event, the dataset has {len(dataset.kinds)} "
            f"({', '.join(dataset.kinds)}); pass the dataset it was trained on"
        )
    return model


def _frozen(network: Exportable) -> Exportable:
    """A copy as serving runs it: on the CPU, in float32, without dropout. The caller may go on training."""
    module = copy.deepcopy(network)
    assert isinstance(module, nn.Module)
    frozen = module.cpu().float().eval().requires_grad_(False)
    assert isinstance(frozen, Exportable)
    return frozen


def _tensors(network: Exportable) -> dict[str, AnyArray]:
    tensors = {INPUT: network.input_vectors(), OUTPUT: network.item_vectors()}
    if torch.equal(tensors[INPUT], tensors[OUTPUT]):
        del tensors[OUTPUT]
    if network.transitions is not None:
        tensors |= {f"{TRANSITIONS}{name}": tensor for name, tensor in network.transitions.tables().items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ArtefactError(f"the network's {name} holds numbers that are not finite; train it again")
    # a state may begin with NaN: the time of an event that is not there
    tensors |= {f"{INITIAL}{name}": tensor for name, tensor in network.initial_state(1).items()}
    return {name: tensor.detach().contiguous().numpy().copy() for name, tensor in tensors.items()}


def _onnx(network: Exportable) -> tuple[bytes, bytes]:
    # two users: a graph traced with one would have no dynamic batch
    state = network.initial_state(2)
    names = tuple(state)
    states_in = [f"{STATE_IN}{name}" for name in names]
    states_out = [f"{STATE_OUT}{name}" for name in names]
    event = tuple(name for name in OF_EVENT if name in network.reads)
    asked = tuple(name for name in (NOW,) if name in network.reads)
    x_BD = network.input_vectors()[:1].expand(2, -1).contiguous()
    filled = dict(zip(OF_EVENT, _event(x_BD, {}), strict=True))
    values = tuple(state.values())
    step_values = (x_BD, *values, *(filled[name] for name in event))
    query_values = (*values, *(filled["time_s"] for _ in asked))
    step = _graph(_Step(network, names, event), step_values, [VECTOR, *states_in, *event], states_out)
    return step, _graph(_Query(network, names, asked), query_values, [*states_in, *asked], [QUERY])


def _graph(module: nn.Module, values: tuple[Tensor, ...], inputs: list[str], outputs: list[str]) -> bytes:
    users = {0: torch.export.Dim("users")}
    own = 1 if VECTOR in inputs else 0
    shapes = (*(users for _ in range(own)), tuple(users for _ in values[own:]))
    try:
        program = torch.onnx.export(
            module.eval(),
            values,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            verbose=False,
        )
    except Exception as error:  # the exporter raises whatever its passes raise
        raise ArtefactError(
            f"the network cannot be written as ONNX ({type(error).__name__}: {error})"
        ) from error
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    graph: bytes = proto.SerializeToString()
    return graph


def _strip(message: Any) -> None:
    """Remove the remarks of the exporter: they name the files and lines of this machine, and are most of a small graph."""
    for remark in ("metadata_props", "doc_string"):
        if remark in message.DESCRIPTOR.fields_by_name:
            message.ClearField(remark)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own insides and on packages that are not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _facts(
    network: Exportable, dataset: SequenceDataset, training: Mapping[str, Any] | None
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": network.name,
        "spec": to_dict(network.spec),
        "sizes": asdict(network.sizes),
        "data": describe_data(dataset),
        "example": dataset.items.ids[:1].tolist()[0],
    }
    return facts | ({"training": dict(training)} if training else {})


def _check_near(what: str, found: AnyArray, expected: AnyArray) -> None:
    """NaN equals NaN in a state, as an unknown time does; scores are numbers."""
    same = (found == expected) | (np.isnan(found) & np.isnan(expected) & what.startswith("state"))
    with np.errstate(invalid="ignore"):
        difference = float(np.where(same, 0.0, np.abs(found - expected)).max(initial=0.0))
    largest = float(np.where(same & np.isnan(expected), 0.0, np.abs(expected)).max(initial=0.0))
    allowed = TOLERANCE[str(expected.dtype)] * max(1.0, largest)
    if not difference <= allowed:  # also when either is NaN
        raise ArtefactError(
            f"the exported network differs from the trained one: {what} by {difference:.1e}, allowed is {allowed:.1e}; "
            "an operation of the network means something else in ONNX"
        )
