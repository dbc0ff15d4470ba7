"""The exported network, run by ONNX Runtime without torch: a step function and a query function of arrays.

Shape letters: B users, T events of one user, D width.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnxruntime

from reprise.arrays import AnyArray, Float32Array
from reprise.errors import ArtefactError
from reprise.recommender.runtime.event_arrays import EventArrays

State = dict[str, AnyArray]
"""Recurrent state of B users: named arrays whose first dimension is B, of float32, float64 or int64."""

VECTOR = "x"
"""Input of the step that every network has: the input vector of the event's item."""
EVENT_INPUTS = ("item", "time_s", "kind", "value")
"""Further inputs that the step may have, with the names of the columns of `EventArrays`."""
NOW = "now_s"
"""Input that the query may have: the time of the request, in seconds since 1970."""
QUERY = "query"
"""Output of the query."""
STATE_IN = "state."
STATE_OUT = "next."
"""Prefixes of the arrays of a state in the graphs. With a prefix, no name of a state can equal the name of another input."""
SCAN = "scan."
"""Prefix of all inputs and outputs of the scan, the graph that runs the step over many events."""
MIN_SCAN_EVENTS = 64
"""Minimum number of events for the scan. It takes half the time per event, but its first call takes 0.3 s."""


class OnnxSession:
    """A network's step and query as functions of arrays. Safe to call from several threads."""

    def __init__(
        self,
        step: bytes,
        query: bytes,
        initial: Mapping[str, AnyArray],
        threads: int = 1,
        make_scan: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Open the two graphs.

        Args:
            step: ONNX graph of the step.
            query: ONNX graph of the query.
            initial: State of one user without events, each array [1, ...].
            threads: Number of threads of one matrix product. More than one is faster for large batches only.
            make_scan: Function that returns the graph of the scan, given that of the step. It is called for the first long
                history. None: the step is called for each event.

        Raises:
            ArtefactError: a graph cannot be read.
        """
        self._step, self._step_inputs = _open("step.onnx", step, threads)
        self._query, self._query_inputs = _open("query.onnx", query, threads)
        self._initial = dict(initial)
        self._names = [f"{STATE_OUT}{name}" for name in initial]
        self._make_scan = None if make_scan is None else partial(make_scan, step)
        self._scan: Any = None
        self._scan_lock = threading.Lock()
        self._threads = threads

    @property
    def reads(self) -> tuple[str, ...]:
        """Inputs of the graphs other than vectors and states: some of `EVENT_INPUTS` and `NOW`."""
        return (
            *(name for name in EVENT_INPUTS if name in self._step_inputs),
            *(name for name in (NOW,) if name in self._query_inputs),
        )

    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` users without events."""
        return {name: np.repeat(array, batch, axis=0) for name, array in self._initial.items()}

    def advance(self, state: State, x_BD: Float32Array, events: EventArrays) -> State:
        """Return the state after one event of each user; `x_BD` holds the input vectors of the events' items."""
        inputs = {
            VECTOR: x_BD,
            **{name: getattr(events, name) for name in EVENT_INPUTS},
            **_state_inputs(state),
        }
        outputs = self._step.run(self._names, {name: inputs[name] for name in self._step_inputs})
        return dict(zip(self._initial, outputs, strict=True))

    def advance_all(self, state: State, x_TD: Float32Array, events: EventArrays) -> State:
        """Return the state of one user after several events, the same as after a call of `advance` for each of them.

        For `MIN_SCAN_EVENTS` events or more, one call of ONNX Runtime runs all steps. Other threads can run meanwhile.

        Args:
            state: State of one user, each array [1, ...].
            x_TD: Input vectors of the events' items.
            events: Events of the user, oldest first.
        """
        session = self._scan_session() if len(events) >= MIN_SCAN_EVENTS else None
        if session is None:
            for step in range(len(events)):
                state = self.advance(state, x_TD[step : step + 1], events.take(np.array([step])))
            return state
        columns = {
            VECTOR: x_TD,
            **{name: getattr(events, name) for name in EVENT_INPUTS},
            **_state_inputs(state),
        }
        inputs = {
            f"{SCAN}{name}": columns[name] if name.startswith(STATE_IN) else columns[name][:, None]
            for name in self._step_inputs
        }
        # the scan has all arrays of the state as inputs, also those that the step does not read
        inputs |= {f"{SCAN}{name}": array for name, array in _state_inputs(state).items()}
        outputs = session.run([f"{SCAN}{name}" for name in self._names], inputs)
        return dict(zip(self._initial, outputs, strict=True))

    def _scan_session(self) -> Any:
        """Return the session of the scan, opened at the first call; None if there is none."""
        with self._scan_lock:
            if self._scan is None and self._make_scan is not None:
                try:
                    self._scan, _ = _open("the scan of step.onnx", self._make_scan(), self._threads)
                except Exception:
                    # ONNX Runtime does not support an operator of the step in a scan; single steps give the same result
                    self._make_scan = None
            return self._scan

    def query(self, state: State, now_s_B: AnyArray) -> Float32Array:
        """Return the query vectors q_BD; `now_s_B` is the time of each request, NaN if it is not known."""
        inputs = {NOW: now_s_B, **_state_inputs(state)}
        query_BD: Float32Array
        (query_BD,) = self._query.run([QUERY], {name: inputs[name] for name in self._query_inputs})
        return query_BD

    @property
    def state_bytes(self) -> int:
        """Size of the state of one user, in bytes."""
        return sum(array.nbytes for array in self._initial.values())


def _state_inputs(state: State) -> State:
    return {f"{STATE_IN}{name}": array for name, array in state.items()}


def _open(name: str, graph: bytes, threads: int) -> tuple[Any, list[str]]:
    """Return the session of a graph and the names of its inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are not printed, because they are raised
    try:
        # without the fallback to other processors, which prints to standard output before it raises the error
        session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        return session, [graph_input.name for graph_input in session.get_inputs()]
    # onnxruntime raises a different class for each kind of failure, and names need not be UTF-8
    except Exception as error:
        raise ArtefactError(
            f"{name} cannot be run by onnxruntime {onnxruntime.__version__} ({error}); export the model again"
        ) from error
