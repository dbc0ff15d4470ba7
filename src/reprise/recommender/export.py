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

from reprise.config import to_dict
from reprise.data.dataset import SequenceDataset, Sizes
from reprise.errors import ArtefactError, ConfigError
from reprise.recommender.artefact import INITIAL, INPUT, OUTPUT, Artefact
from reprise.recommender.index import Floats
from reprise.recommender.provenance import describe_data
from reprise.recommender.runtime import QUERY, STATE_IN, STATE_OUT, VECTOR, Runtime

TOLERANCE = 1e-5
"""Largest difference between torch and ONNX, against the largest number of the tensor or 1."""
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

    def initial_state(self, batch: int) -> TorchState:
        """The state of `batch` users without events."""
        ...

    def advance_vector(self, state: TorchState, x_BD: Tensor) -> TorchState:
        """The state after an event whose item has this raw vector."""
        ...

    def query(self, state: TorchState) -> Tensor:
        """What is compared with the item vectors, q_BD."""
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
    """Compare torch and ONNX on random histories, after each event.

    Raises:
        ArtefactError: a state or a score differs by more than `TOLERANCE`, or is not finite.
    """
    runtime = Runtime(artefact.step, artefact.query, artefact.initial)
    generator = np.random.default_rng(0)
    for batch in CHECKED_BATCHES:
        torch_state, state = network.initial_state(batch), runtime.initial_state(batch)
        for index_B in generator.integers(len(artefact.input_ID), size=(CHECKED_STEPS, batch)):
            x_BD = artefact.input_ID[index_B]
            state = runtime.advance(state, x_BD)
            with torch.no_grad():
                torch_state = network.advance_vector(torch_state, torch.from_numpy(x_BD))
                expected_BI = network.query(torch_state) @ network.item_vectors().t()
            for name, array in state.items():
                _check_near(f"state {name!r}", array, torch_state[name].numpy())
            _check_near("the scores", runtime.query(state) @ artefact.output_ID.T, expected_BI.numpy())


class _Step(nn.Module):
    """`advance_vector` with the state as a tuple, as a graph wants it."""

    def __init__(self, network: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, x_BD: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        after = self.network.advance_vector(dict(zip(self.names, state, strict=True)), x_BD)
        return tuple(after[name] for name in self.names)


class _Query(nn.Module):
    """`query` with the state as a tuple."""

    def __init__(self, network: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *state: Tensor) -> Tensor:
        query_BD: Tensor = self.network.query(dict(zip(self.names, state, strict=True)))
        return query_BD


def _checked(model: object, dataset: SequenceDataset) -> Exportable:
    if not (isinstance(model, nn.Module) and isinstance(model, Exportable)):
        raise ConfigError(
            f"a Recommender is made from a trained network, got {type(model).__name__}; "
            "train one with `reprise.train`, or pass an nn.Module with the methods of reprise.recommender.export.Exportable"
        )
    if model.sizes.items != dataset.items.warm:
        raise ConfigError(
            f"the network has vectors for {model.sizes.items} items, the dataset has {dataset.items.warm} warm ones; "
            "pass the dataset it was trained on"
        )
    return model


def _frozen(network: Exportable) -> Exportable:
    """A copy as serving runs it: on the CPU, in float32, without dropout. The caller may go on training."""
    module = copy.deepcopy(network)
    assert isinstance(module, nn.Module)
    frozen = module.cpu().float().eval().requires_grad_(False)
    assert isinstance(frozen, Exportable)
    return frozen


def _tensors(network: Exportable) -> dict[str, Floats]:
    tensors = {INPUT: network.input_vectors(), OUTPUT: network.item_vectors()}
    if torch.equal(tensors[INPUT], tensors[OUTPUT]):
        del tensors[OUTPUT]
    tensors |= {f"{INITIAL}{name}": tensor for name, tensor in network.initial_state(1).items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ArtefactError(f"the network's {name} holds numbers that are not finite; train it again")
    return {name: tensor.detach().contiguous().numpy().copy() for name, tensor in tensors.items()}


def _onnx(network: Exportable) -> tuple[bytes, bytes]:
    # two users: a graph traced with one would have no dynamic batch
    state = network.initial_state(2)
    names = tuple(state)
    states_in = [f"{STATE_IN}{name}" for name in names]
    states_out = [f"{STATE_OUT}{name}" for name in names]
    x_BD = network.input_vectors()[:1].expand(2, -1).contiguous()
    values = tuple(state.values())
    step = _graph(_Step(network, names), (x_BD, *values), [VECTOR, *states_in], states_out)
    return step, _graph(_Query(network, names), values, states_in, [QUERY])


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


def _check_near(what: str, found: Floats, expected: Floats) -> None:
    difference = float(np.abs(found - expected).max(initial=0.0))
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0)))
    if not difference <= allowed:  # also when either is NaN
        raise ArtefactError(
            f"the exported network differs from the trained one: {what} by {difference:.1e}, allowed is {allowed:.1e}; "
            "an operation of the network means something else in ONNX"
        )
