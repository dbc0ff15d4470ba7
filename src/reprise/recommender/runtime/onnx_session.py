"""The exported network, run by ONNX Runtime: vectors and states in, states and queries out. No torch.

Shape letters: B users, D width.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from reprise.arrays import AnyArray, Float32Array
from reprise.errors import ArtefactError
from reprise.recommender.runtime.event_arrays import EventArrays

State = dict[str, AnyArray]
"""What is remembered of B users: named arrays, each starting with B, of float32, float64 or int64."""

VECTOR = "x"
"""The input of the step that every network has."""
OF_EVENT = ("item", "time_s", "kind", "value")
"""The inputs of the step that a network may have besides, called as the columns of `EventArrays`."""
NOW = "now_s"
"""The input of the query that is no state, where the moment of asking is used."""
QUERY = "query"
STATE_IN = "state."
STATE_OUT = "next."
"""How the tensors of a state are called in the graphs; a state may then have any names of its own."""


class OnnxSession:
    """A step and a query, as functions of arrays. Safe to call from several threads."""

    def __init__(self, step: bytes, query: bytes, initial: Mapping[str, AnyArray], threads: int = 1) -> None:
        """Open the two graphs.

        Args:
            step: The step as ONNX.
            query: The query as ONNX.
            initial: The state of one user without events, each array [1, ...].
            threads: Threads of one matrix product. More than one pays for large batches only.

        Raises:
            ArtefactError: a graph cannot be read.
        """
        self._step = _open("step.onnx", step, threads)
        self._query = _open("query.onnx", query, threads)
        self._initial = dict(initial)
        self._names = [f"{STATE_OUT}{name}" for name in initial]
        self._step_inputs, self._query_inputs = _inputs(self._step), _inputs(self._query)

    @property
    def reads(self) -> tuple[str, ...]:
        """What the graphs take besides vectors and states: some of `OF_EVENT`, and `NOW`."""
        return (
            *(name for name in OF_EVENT if name in self._step_inputs),
            *(name for name in (NOW,) if name in self._query_inputs),
        )

    def initial_state(self, batch: int) -> State:
        """The state of `batch` users without events."""
        return {name: np.repeat(array, batch, axis=0) for name, array in self._initial.items()}

    def advance(self, state: State, x_BD: Float32Array, events: EventArrays) -> State:
        """The state after one event of each user, whose item has the raw vector `x_BD`."""
        given = {VECTOR: x_BD, **{name: getattr(events, name) for name in OF_EVENT}, **_feed(state)}
        after = self._step.run(self._names, {name: given[name] for name in self._step_inputs})
        return dict(zip(self._initial, after, strict=True))

    def query(self, state: State, now_s_B: AnyArray) -> Float32Array:
        """What is compared with the item vectors, q_BD; `now_s_B` is the moment of asking, NaN where it is not known."""
        given = {NOW: now_s_B, **_feed(state)}
        query_BD: Float32Array = self._query.run([QUERY], {name: given[name] for name in self._query_inputs})[
            0
        ]
        return query_BD

    @property
    def state_bytes(self) -> int:
        """The size of one user's state."""
        return sum(array.nbytes for array in self._initial.values())


def _feed(state: State) -> State:
    return {f"{STATE_IN}{name}": array for name, array in state.items()}


def _inputs(graph: Any) -> list[str]:
    return [given.name for given in graph.get_inputs()]


def _open(name: str, graph: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: they are raised as well
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own for each kind of failure
        raise ArtefactError(
            f"{name} cannot be run by onnxruntime {onnxruntime.__version__} ({error})"
        ) from error
