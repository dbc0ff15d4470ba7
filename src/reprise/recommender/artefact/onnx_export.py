"""Export of a trained torch network to an artefact. The only module of the recommender that imports torch.

Shape letters: B users, I items, D width of the input vectors, D' width of the output vectors.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from reprise.arrays import AnyArray
from reprise.config import to_dict
from reprise.content.fitted_content import FittedContent
from reprise.data.dataset import SequenceDataset, Sizes
from reprise.errors import ArtefactError, ConfigError
from reprise.models.batch import Event
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.models.counts.item_users import count_item_users
from reprise.models.items.content_embeddings import ContentEmbeddings
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.popular_fallback import popular_fallback
from reprise.models.published_dataset import published_dataset
from reprise.recommender.artefact.artefact import (
    CONTENT,
    CONTENT_MAP,
    FORECAST,
    INITIAL,
    INPUT,
    ITEM_USERS,
    OUTPUT,
    POPULAR,
    REPEATS,
    TRANSITIONS,
    USERS,
    Artefact,
)
from reprise.recommender.artefact.exporter_comments import quiet_exporter, strip_comments
from reprise.recommender.artefact.loading import open_network
from reprise.recommender.artefact.model_card import correction_facts, describe_data
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_session import EVENT_INPUTS, NOW, QUERY, STATE_IN, STATE_OUT, VECTOR
from reprise.recommender.runtime.user_map import FITTED, WEIGHT

TOLERANCE = {"float32": 3e-5, "float64": 1e-12, "int64": 0.0}
"""Largest accepted difference between torch and ONNX, relative to the largest number of the tensor or to 1."""
MAX_GAP_S = 1e7
"""Longest time between two random events of the comparison, in seconds: about four months."""
CHECKED_STEPS = 32
"""Number of random events of each user on which torch and ONNX are compared."""
CHECKED_BATCHES = (1, 5)
"""Numbers of users on which torch and ONNX are compared."""

TorchState = dict[str, Tensor]


@runtime_checkable
class Exportable(Protocol):
    """Interface of a network that can become a recommender; `SequenceModel` has it."""

    name: str
    """Name of the network in tables and reports."""
    spec: Any
    """Spec that the network was built from."""
    sizes: Sizes
    """Numbers of items, kinds and events that the network was built for."""

    reads: tuple[str, ...]
    """Inputs other than vectors: some of `item`, `time_s`, `kind` and `value` of an event, and `now_s` of a request."""
    cooccurrence: CooccurrenceCorrection | None
    """Correction that is added to the scores, from the items in the state's `recent`; None if there is none."""
    repeat_head: RepeatHead | None
    """Head that then replaces the scores of the items in the state's `recent`; None if there is none."""

    def initial_state(self, batch: int) -> TorchState:
        """Return the state of `batch` users without events: named tensors [B, ...] of float32, float64 or int64."""
        ...

    def advance_vector(self, state: TorchState, x_BD: Tensor, event: Event) -> TorchState:
        """Return the state after an event whose item has this input vector. Fields that `reads` does not name are empty."""
        ...

    def query(self, state: TorchState, now_s_B: Tensor | None = None) -> Tensor:
        """Return the query vectors q_BD'. `now_s_B` is the time of each request; None or NaN: not known."""
        ...

    def scores(self, state: TorchState, now_s_B: Tensor | None = None) -> Tensor:
        """Return the corrected scores of all items, s_BI. The export must give the same."""
        ...

    def input_vectors(self) -> Tensor:
        """Return the input vectors of the items, [I, D]."""
        ...

    def item_vectors(self) -> Tensor:
        """Return the output vectors of the items, [I, D']."""
        ...


def export(model: object, dataset: SequenceDataset, training: Mapping[str, Any] | None = None) -> Artefact:
    """Convert a trained network to an artefact, and check that both compute the same.

    Args:
        model: A `SequenceModel`, or a module with the methods of `Exportable`. It is not changed.
        dataset: Dataset the network was trained on. The artefact contains its ids, item table and fingerprint, but no events.
        training: Description of the training, for the model card.

    Raises:
        ConfigError: the model is not a network, or was built for another dataset.
        ArtefactError: the network cannot be written as ONNX, or the ONNX graphs compute something else.
    """
    network = _checked(model, dataset)
    dataset, private = published_dataset(network, dataset)
    frozen = _frozen(network)
    tensors = _tensors(frozen)
    with torch.no_grad(), quiet_exporter():
        step, query = _onnx(frozen)
    assert isinstance(network, nn.Module)
    popular = popular_fallback(network, dataset)
    tensors |= {f"{POPULAR}{name}": array for name, array in popular.to_tensors().items()}
    heads = network.forecast if isinstance(network, NetworkScorer) else None
    if not private:
        tensors[ITEM_USERS] = count_item_users(dataset.scoring(len(tensors[INPUT])))
    tensors |= {} if heads is None else {f"{FORECAST}{name}": array for name, array in heads.tensors.items()}
    metadata = _metadata(network, dataset, training) | {"popular": popular.to_json()} | private
    if isinstance(frozen, SequenceModel) and frozen.users is not None:
        fitted = frozen.users.content
        metadata["users"] = fitted.to_json()
        tensors |= {f"{USERS}{FITTED}{name}": array for name, array in fitted.to_tensors().items()}
        tensors[f"{USERS}{WEIGHT}"] = frozen.users.weight.detach().numpy().copy()
    artefact = Artefact(metadata, tensors, step, query, dataset.table)
    check_same(frozen, artefact)
    return artefact


def check_same(network: Exportable, artefact: Artefact) -> None:
    """Compare torch and ONNX after each event of random histories, with and without a time of the request.

    Raises:
        ArtefactError: a state or a score differs by more than `TOLERANCE`, or a score is not finite.
    """
    exported = open_network(artefact)
    for batch in CHECKED_BATCHES:
        torch_state, state = network.initial_state(batch), exported.runtime.initial_state(batch)
        for events, now_s_B in _random_events(replace(network.sizes, items=artefact.scored), batch):
            state = exported.advance(state, events)
            x_BD = torch.from_numpy(artefact.input_ID[events.item - 1])
            with torch.no_grad():
                torch_state = network.advance_vector(
                    torch_state, x_BD, Event(*map(torch.from_numpy, events.columns))
                )
                timed_BI = network.scores(torch_state, torch.from_numpy(now_s_B)).numpy()
                untimed_BI = network.scores(torch_state).numpy()
            for name, array in state.items():
                _check_near(f"state {name!r}", array, torch_state[name].numpy())
            # both continue from torch's state: rounding errors that grow with the steps would look like a difference
            state = {name: torch_state[name].numpy() for name in state}
            _check_near("the scores", exported.scores(state), untimed_BI)
            _check_near("the scores at a given time", exported.scores(state, now_s_B), timed_BI)


def _random_events(sizes: Sizes, batch: int) -> Iterator[tuple[EventArrays, AnyArray]]:
    """Yield random events of `batch` users, some of items that repeat, and a time of a request after each.

    Some times and values are unknown.
    """
    generator = np.random.default_rng(0)

    def partly_unknown(known_B: AnyArray) -> AnyArray:
        return np.where(generator.random(batch) < 0.2, np.nan, known_B)

    def later(time_s_B: AnyArray) -> AnyArray:
        gap_s_B = MAX_GAP_S ** generator.random(batch)
        return time_s_B + np.where(generator.random(batch) < 0.2, 0.0, gap_s_B)

    time_s_B = np.full(batch, 1e9)
    before_BT = np.empty((batch, 0), dtype=np.int64)
    for step in range(CHECKED_STEPS):
        time_s_B = later(time_s_B)
        value_B = partly_unknown(100.0 * generator.standard_normal(batch)).astype(np.float32)
        item_B, kind_B = (
            generator.integers(*ends, batch) for ends in ((1, sizes.items + 1), (0, sizes.kinds))
        )
        if step:
            # random items of a large catalogue would never repeat
            earlier_B = before_BT[np.arange(batch), generator.integers(step, size=batch)]
            item_B = np.where(generator.random(batch) < 0.3, earlier_B, item_B)
        before_BT = np.column_stack([before_BT, item_B])
        yield EventArrays(item_B, partly_unknown(time_s_B), kind_B, value_B), partly_unknown(later(time_s_B))


class _Step(nn.Module):
    """`advance_vector` with a tuple of tensors, as a graph needs them: the state and the inputs of the event."""

    def __init__(self, network: Any, state: tuple[str, ...], reads: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.state, self.reads = network, state, reads

    def forward(self, x_BD: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        state, inputs = _by_name(tensors, self.state, self.reads)
        after = self.network.advance_vector(state, x_BD, _event(x_BD, inputs))
        return tuple(after[name] for name in self.state)


class _Query(nn.Module):
    """`query` with a tuple of tensors: the state and, if it is used, the time of the request."""

    def __init__(self, network: Any, state: tuple[str, ...], reads: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.state, self.reads = network, state, reads

    def forward(self, *tensors: Tensor) -> Tensor:
        state, inputs = _by_name(tensors, self.state, self.reads)
        query_BD: Tensor = self.network.query(state, inputs.get(NOW))
        return query_BD


def _by_name(
    tensors: tuple[Tensor, ...], state: tuple[str, ...], reads: tuple[str, ...]
) -> tuple[TorchState, TorchState]:
    """Divide tensors into the state and the other inputs, by name."""
    inputs = dict(zip(reads, tensors[len(state) :], strict=True))
    return dict(zip(state, tensors[: len(state)], strict=True)), inputs


def _event(x_BD: Tensor, inputs: TorchState) -> Event:
    """Return an event with these inputs. Fields that the network does not read get constants that no graph depends on."""
    zero_B = torch.zeros_like(x_BD[:, 0])
    default = {
        "item": zero_B.long(),
        "time_s": zero_B.double() + torch.nan,
        "kind": zero_B.long(),
        "value": zero_B + torch.nan,
    }
    return Event(*(inputs.get(name, default[name]) for name in EVENT_INPUTS))


def _checked(model: object, dataset: SequenceDataset) -> Exportable:
    if not (isinstance(model, nn.Module) and isinstance(model, Exportable)):
        raise ConfigError(
            f"a Recommender needs a trained network, got {type(model).__name__}; "
            "train one with `reprise.train`, or pass an nn.Module with the methods of reprise.recommender.Exportable"
        )
    if model.sizes.items != dataset.items.warm:
        raise ConfigError(
            f"the network has vectors for {model.sizes.items} items, the dataset has {dataset.items.warm} warm items; "
            "pass the dataset it was trained on"
        )
    if "kind" in model.reads and model.sizes.kinds != len(dataset.kinds):
        raise ConfigError(
            f"the network reads {model.sizes.kinds} kinds of event, the dataset has {len(dataset.kinds)} "
            f"({', '.join(dataset.kinds)}); pass the dataset it was trained on"
        )
    return model


def _frozen(network: Exportable) -> Exportable:
    """Return a copy for inference: on the CPU, in float32, without dropout. The caller can continue training."""
    module = copy.deepcopy(network)
    assert isinstance(module, nn.Module)
    frozen = module.cpu().float().eval().requires_grad_(False)
    assert isinstance(frozen, Exportable)
    return frozen


def _tensors(network: Exportable) -> dict[str, AnyArray]:
    tensors = {INPUT: network.input_vectors(), OUTPUT: network.item_vectors()}
    if torch.equal(tensors[INPUT], tensors[OUTPUT]):
        del tensors[OUTPUT]
    if network.cooccurrence is not None:
        tensors |= {f"{TRANSITIONS}{name}": tensor for name, tensor in network.cooccurrence.tables().items()}
    tensors |= _content_tensors(network)
    if network.repeat_head is not None and not network.repeat_head.is_zero:
        tensors |= {f"{REPEATS}{name}": tensor for name, tensor in network.repeat_head.tables().items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ArtefactError(f"the network's {name} contains numbers that are not finite; train it again")
    # after the check, because an initial state may contain NaN: the time of the last event of a user without events
    tensors |= {f"{INITIAL}{name}": tensor for name, tensor in network.initial_state(1).items()}
    return {name: tensor.detach().contiguous().numpy().copy() for name, tensor in tensors.items()}


def _content_tensors(network: Exportable) -> dict[str, Tensor]:
    """Return the arrays of the fitted content and of `ContentVectors`; empty if the network does not read content."""
    content = content_of(network)
    if content is None:
        return {}
    assert isinstance(network, SequenceModel) and isinstance(network.items, ContentEmbeddings)
    fitted = {
        f"{CONTENT}{name}": torch.from_numpy(array.copy()) for name, array in content.to_tensors().items()
    }
    return fitted | {f"{CONTENT_MAP}{name}": tensor for name, tensor in network.items.tables().items()}


def content_of(network: object) -> FittedContent | None:
    """Return the fitted content of the items of a network; None if it reads ids only, or is an ensemble."""
    return network.content if isinstance(network, SequenceModel) else None


def _onnx(network: Exportable) -> tuple[bytes, bytes]:
    """Return the graphs of the step and the query."""
    # two users, because a graph that is traced with one user has a fixed batch size
    state = network.initial_state(2)
    names = tuple(state)
    states_in = [f"{STATE_IN}{name}" for name in names]
    states_out = [f"{STATE_OUT}{name}" for name in names]
    event = tuple(name for name in EVENT_INPUTS if name in network.reads)
    request = tuple(name for name in (NOW,) if name in network.reads)
    x_BD = network.input_vectors()[:1].expand(2, -1).contiguous()
    example = dict(zip(EVENT_INPUTS, _event(x_BD, {}), strict=True))
    values = tuple(state.values())
    step_values = (x_BD, *values, *(example[name] for name in event))
    query_values = (*values, *(example["time_s"] for _ in request))
    step = _graph(_Step(network, names, event), step_values, [VECTOR, *states_in, *event], states_out)
    return step, _graph(_Query(network, names, request), query_values, [*states_in, *request], [QUERY])


def _graph(module: nn.Module, values: tuple[Tensor, ...], inputs: list[str], outputs: list[str]) -> bytes:
    users = {0: torch.export.Dim("users")}
    # the shapes follow the signature of `forward`: `x_BD` alone, the further tensors as one tuple
    single = 1 if VECTOR in inputs else 0
    shapes = (*(users for _ in range(single)), tuple(users for _ in values[single:]))
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
    except Exception as error:  # the passes of the exporter raise errors of many classes
        raise ArtefactError(
            f"the network cannot be written as ONNX ({type(error).__name__}: {error}); use operations that torch.onnx supports"
        ) from error
    assert program is not None
    proto = program.model_proto
    strip_comments(proto)
    graph: bytes = proto.SerializeToString()
    return graph


def _metadata(
    network: Exportable, dataset: SequenceDataset, training: Mapping[str, Any] | None
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": network.name,
        "spec": to_dict(network.spec),
        "sizes": {**asdict(network.sizes), "scored": len(network.item_vectors())},
        **correction_facts(network),
        "data": describe_data(dataset),
        "example": dataset.items.ids[:1].tolist()[0],
    }
    content = content_of(network)
    metadata |= {} if content is None else {"content": content.to_json()}
    return metadata | ({"training": dict(training)} if training else {})


def _check_near(what: str, found: AnyArray, expected: AnyArray) -> None:
    """Raise `ArtefactError` if two arrays differ. In a state NaN equals NaN, because it is an unknown time; in scores not."""
    same = (found == expected) | (np.isnan(found) & np.isnan(expected) & what.startswith("state"))
    with np.errstate(invalid="ignore"):
        difference = float(np.where(same, 0.0, np.abs(found - expected)).max(initial=0.0))
    largest = float(np.where(same & np.isnan(expected), 0.0, np.abs(expected)).max(initial=0.0))
    allowed = TOLERANCE[str(expected.dtype)] * max(1.0, largest)
    if not difference <= allowed:  # also when either is NaN
        raise ArtefactError(
            f"the exported network differs from the trained network: {what} by {difference:.1e}, allowed is {allowed:.1e}; "
            "replace the operation that ONNX computes differently"
        )
