"""Recommendations on the device of a user: the events, the state and the answers stay there.

This file needs numpy and onnxruntime only. `reprise export-device` copies it next to the files that it reads:

    client = DeviceClient(".")
    client.add("p17")
    client.recommend(10)

Shape letters: I items, D width, W recent events, U different recent items.
"""

import hashlib
import json
import math
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

FORMAT = 1
"""Version of the format of the folder that this file reads."""
FACTS, STEP, QUERY, VECTORS, IDS = "device.json", "step.onnx", "query.onnx", "vectors.npz", "ids.json"
"""Files of the folder."""
INITIAL, REPEATS = "initial.", "repeats."
"""Prefixes of the arrays of the state without events, and of the repeat head."""
STATE = "state."
"""Prefix of the arrays of a state in the graphs and in the files of `save`."""
NORMALISER_ITEMS = 20
"""Number of highest scores in the normaliser of the repeat head, in place of all scores."""
NEWEST = 3
"""Number of newest events with a pointer weight of their own."""
MIN_NORM = np.float32(1e-12)
"""Smallest norm by which a vector is divided."""
MAX_TIME_S = 1e11
"""Numbers from here on are milliseconds: as seconds they would be after the year 5000."""


class DeviceRecommendation(NamedTuple):
    """One recommended item."""

    item_id: Any
    """Id of the item, as in the log."""
    score: float
    """Score of the item; higher is better. Without known events, its share of popularity."""


class DeviceClient:
    """The state of one user. Events are read one by one and are not kept. Do not share it between threads."""

    def __init__(self, folder: str | Path = ".") -> None:
        """Open a folder that `reprise export-device` wrote.

        Raises:
            ValueError: a file is missing, was changed, or has another format.
        """
        self.facts = _read_facts(Path(folder))
        files = {name: _verified(Path(folder), name, self.facts["files"]) for name in (STEP, QUERY, IDS)}
        _verified(Path(folder), VECTORS, self.facts["files"])
        with np.load(Path(folder) / VECTORS, allow_pickle=False) as arrays:
            self._arrays = {name: arrays[name] for name in arrays.files}
        self.ids: list[Any] = json.loads(files[IDS])
        """Ids of the items; the id at position p has the index p + 1."""
        self._index = {item_id: place for place, item_id in enumerate(self.ids, 1)}
        self._input_ID = self._arrays["input"].astype(np.float32)
        self._step, self._step_inputs = _open(files[STEP])
        self._query, self._query_inputs = _open(files[QUERY])
        self._initial = _with_prefix(self._arrays, INITIAL)
        self._repeats = _with_prefix(self._arrays, REPEATS)
        self._last_s = math.nan
        self._at_last_time: set[tuple[Any, str]] = set()
        self._start()

    def _start(self) -> None:
        """Set the state and the counts to those of a user without events."""
        self._state = dict(self._initial)
        self._seen: set[int] = set()
        self.events = 0
        """Number of events that the state has read."""
        self.skipped = 0
        """Number of events that were skipped, because the model has no vector for their items."""

    def add(self, event: Any) -> None:
        """Read one more event. An event of an unknown item is skipped and counted in `skipped`.

        The rules of the log apply: an event that repeats one of the same item, time and kind changes nothing, and the first
        event after a long pause starts a new session.

        Args:
            event: An item id, or a mapping with `item_id` and optionally `timestamp` (seconds since 1970, not before the
                earlier events), `kind` and `value`.

        Raises:
            ValueError: the event cannot be read, or is earlier than the event before it.
        """
        event = event if isinstance(event, dict) else {"item_id": event}
        unknown = event.keys() - {"item_id", "timestamp", "kind", "value"}
        if "item_id" not in event or unknown:
            raise ValueError(
                f"an event has item_id and optionally timestamp, kind and value, got {sorted(event)}; "
                "pass an item id or such a mapping"
            )
        item_id, kind = event["item_id"], event.get("kind")
        if isinstance(item_id, bool) or not isinstance(item_id, type(self.ids[0])):
            wanted = type(self.ids[0]).__name__
            raise ValueError(f"item id {item_id!r} is not of type {wanted}, as the ids of this model are")
        time_s, code, value = _seconds(event.get("timestamp")), self._kind(kind), _value(event.get("value"))
        if time_s < self._last_s:
            raise ValueError(
                f"the event of item {item_id!r} is earlier than the one before it; add events in order"
            )
        if not math.isnan(time_s) and self._is_repeated(item_id, kind, time_s):
            return
        index = self._index.get(item_id, 0)
        if not index:
            self.skipped += 1
            return
        self._advance(index, time_s, code, value)

    def _advance(self, index: int, time_s: float, code: int, value: float) -> None:
        inputs = {
            "x": self._input_ID[index - 1 : index],
            "item": np.array([index]),
            "time_s": np.array([time_s]),
            "kind": np.array([code]),
            "value": np.array([value], dtype=np.float32),
            **_prefixed(self._state),
        }
        names = [f"next.{name}" for name in self._initial]
        outputs = self._step.run(names, {name: inputs[name] for name in self._step_inputs})
        self._state = dict(zip(self._initial, outputs, strict=True))
        self.events += 1
        self._seen.add(index)

    def _is_repeated(self, item_id: Any, kind: object, time_s: float) -> bool:
        """Apply the rules of the log to an event with a time, and return whether it is a duplicate."""
        rules, last_ms, time_ms = self.facts["rules"], _milliseconds(self._last_s), _milliseconds(time_s)
        self._last_s = time_s
        gap = rules["session_gap_ms"]
        if gap is not None and time_ms - last_ms > gap:  # False if there is no earlier time
            self._start()
        if time_ms != last_ms:
            self._at_last_time = set()
        key = (item_id, "event" if kind is None or not rules["has_kinds"] else str(kind))
        repeated = rules["drop_duplicates"] and key in self._at_last_time
        self._at_last_time.add(key)
        return bool(repeated)

    def query(self, now: float | None = None) -> Any:
        """Return the query vector of the state, [D], float32. A score is its product with an output vector.

        Args:
            now: Time of the request in seconds since 1970; None: not known.

        Raises:
            ValueError: `now` is not a time, or is before the last event.
        """
        now_s = _seconds(now)
        if now_s < self._last_s:
            raise ValueError(f"now ({now}) is before the last event ({self._last_s}); pass a later time")
        inputs = {"now_s": np.array([now_s]), **_prefixed(self._state)}
        (query_1D,) = self._query.run(["query"], {name: inputs[name] for name in self._query_inputs})
        return query_1D[0]

    def recommend(
        self, k: int = 10, *, exclude_seen: bool = False, now: float | None = None
    ) -> list[DeviceRecommendation]:
        """Return the items that may come next, best first; fewer than k if there are fewer.

        Without known events, or if the state is not finite, the items are those that were most popular in the log.

        Args:
            k: Number of items.
            exclude_seen: Whether to leave out the items of the events.
            now: Time of the request in seconds since 1970; None: not known.

        Raises:
            ValueError: an argument is invalid, or the folder was exported without output vectors.
        """
        query_D = self.query(now)
        if not self.has_answer(query_D):
            return self.popular(k)
        if self.facts["scoring"] != "device":
            raise ValueError(
                "this folder has no output vectors, because a server computes the scores; use EncryptedClient, or "
                "export with --scoring device"
            )
        return self.rank(self._output_ID @ query_D, k, exclude_seen=exclude_seen)

    @cached_property
    def _output_ID(self) -> Any:
        """Output vectors of the items: their own, or the input vectors, or these divided by their norms."""
        form = self.facts["output"]
        if form == "own":
            return self._arrays["output"].astype(np.float32)
        if form == "input":
            return self._input_ID
        norm_I1 = np.linalg.norm(self._input_ID, axis=1, keepdims=True)
        return self._input_ID / np.maximum(norm_I1, MIN_NORM)

    def has_answer(self, query_D: Any) -> bool:
        """Return whether there are known events and the query is finite. Otherwise popular items are the answer."""
        return self.events > 0 and bool(np.isfinite(query_D).all())

    def popular(self, k: int) -> list[DeviceRecommendation]:
        """Return the k items that were most popular in the log, for a user without known events."""
        _check_k(k)
        rows, shares = self._arrays["popular_row"][:k].tolist(), self._arrays["popular_share"][:k].tolist()
        return [DeviceRecommendation(self.ids[row], share) for row, share in zip(rows, shares, strict=True)]

    def rank(self, score_I: Any, k: int, *, exclude_seen: bool = False) -> list[DeviceRecommendation]:
        """Return the k best items by their scores, after the repeat head and without the items that are unavailable.

        Args:
            score_I: Product of the query with the output vector of each item, [I].
            k: Number of items.
            exclude_seen: Whether to leave out the items of the events.
        """
        _check_k(k)
        score_I = self._with_repeats(np.array(score_I))
        score_I[self._arrays["unavailable_row"]] = -np.inf
        if exclude_seen:
            score_I[np.array(sorted(self._seen)) - 1] = -np.inf
        best = np.argsort(-score_I, kind="stable")[:k]  # items with equal scores are in index order
        return [
            DeviceRecommendation(self.ids[row], float(score_I[row]))
            for row in best.tolist()
            if score_I[row] > -np.inf
        ]

    def _with_repeats(self, score_I: Any) -> Any:
        """Replace the scores of recent items by those of the repeat head, if the model has one."""
        tables = self._repeats
        if not tables:
            return score_I
        window = int(tables["window"][0])
        item_W = self._state["recent"][0, -window:]
        events = int((item_W > 0).sum())
        if not events:
            return score_I
        weight = tables["position"].astype(np.float64)
        rank_W = np.arange(len(item_W), 0, -1)
        pointer_W = weight[NEWEST] * np.log(rank_W)
        pointer_W[-NEWEST:] += weight[:NEWEST][::-1][-len(rank_W) :]
        count_W = (item_W[:, None] == item_W[None, :]).sum(axis=1)
        pointer_W += weight[NEWEST + 1] * (count_W > 1) + weight[NEWEST + 2] * np.log(count_W)
        if "time" in tables:
            time_s_W = self._state["recent_time_s"][0, -window:]
            pointer_W += float(tables["time"][0]) * np.log1p(np.fmax(time_s_W[-1] - time_s_W, 0.0))
        if "kind" in tables:
            pointer_W += tables["kind"][self._state["recent_kind"][0, -window:]]
        latest = {item: place for place, item in enumerate(item_W.tolist()) if item}
        row_U, pointer_U = np.array([*latest]) - 1, pointer_W[[*latest.values()]]
        constant, by_length, by_repeats = tables["gate"].astype(np.float64)
        repeats = math.log((max(events - len(latest), 0) + 0.5) / (len(latest) + 0.5))
        gate = constant + by_length * math.log(events) + by_repeats * repeats
        scale, shift, own = (float(tables[name][0]) for name in ("scale", "shift", "own_weight"))
        scaled_U = score_I[row_U].astype(np.float64) * scale
        pointer_U = pointer_U + own * scaled_U
        highest = np.sort(score_I)[-NORMALISER_ITEMS:].astype(np.float64) * scale
        offset = np.logaddexp.reduce(highest) + gate - np.logaddexp.reduce(pointer_U)
        score_I[row_U] = np.logaddexp(scaled_U + shift, pointer_U + offset) / scale
        return score_I

    def _kind(self, kind: object) -> int:
        """Return the code of a kind of event; for None that of events without a kind, or of the most frequent kind."""
        kinds = self.facts["kinds"]
        if not kinds:
            return 0
        if kind is None:
            return kinds.index("event") if "event" in kinds else 0
        if str(kind) not in kinds:
            raise ValueError(f"unknown kind of event {kind!r}; known: {', '.join(kinds)}")
        return int(kinds.index(str(kind)))

    def save(self, file: str | Path) -> None:
        """Write the state, and what the rules need of the last event, to a file. It contains no list of events.

        The file holds the set of items seen, for `exclude_seen`.
        """
        counts = {
            "model": self.facts["model"],
            "events": self.events,
            "skipped": self.skipped,
            "last_s": self._last_s,
        }
        facts = {**counts, "seen": sorted(self._seen), "at_last_time": sorted(self._at_last_time, key=str)}
        with Path(file).open("wb") as target:
            np.savez(target, facts=np.array(json.dumps(facts)), **_prefixed(self._state))

    def restore(self, file: str | Path) -> None:
        """Continue with the state of a file that `save` wrote.

        Raises:
            ValueError: the state is that of another model, or the file is not a state.
        """
        try:
            with Path(file).open("rb") as source, np.load(source, allow_pickle=False) as arrays:
                facts = json.loads(str(arrays["facts"]))
                state = {name: arrays[f"{STATE}{name}"] for name in self._initial}
        except (KeyError, TypeError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{file} is not a state that `save` wrote ({error}); add the events again"
            ) from None
        if facts.get("model") != self.facts["model"]:
            raise ValueError(f"{file} has the state of another model; add the events again")
        self._state, self._seen = state, set(facts["seen"])
        self.events, self.skipped, self._last_s = facts["events"], facts["skipped"], facts["last_s"]
        self._at_last_time = {(item_id, kind) for item_id, kind in facts["at_last_time"]}


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{folder} has no {FACTS}; write it with `reprise export-device MODEL --out DIR`"
        ) from None
    except ValueError as error:
        raise ValueError(f"{folder / FACTS} is damaged ({error}); copy the folder again") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"{folder / FACTS} has another format than {FORMAT}; export the model again")
    return facts


def _verified(folder: Path, name: str, checksums: dict[str, str]) -> bytes:
    """Return the bytes of a file after comparing its checksum."""
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{folder / name} is missing; copy the folder again") from None
    if hashlib.sha256(data).hexdigest() != checksums.get(name):
        raise ValueError(f"{folder / name} was changed (its checksum differs); copy the folder again")
    return data


def _open(graph: bytes) -> tuple[Any, list[str]]:
    """Return the session of a graph and the names of its inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session, [one.name for one in session.get_inputs()]


def _with_prefix(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _prefixed(state: dict[str, Any]) -> dict[str, Any]:
    return {f"{STATE}{name}": array for name, array in state.items()}


def _seconds(time: float | None) -> float:
    """Return a time as seconds since 1970, NaN for None."""
    if time is None:
        return math.nan
    if isinstance(time, bool) or not isinstance(time, int | float) or not abs(time) < MAX_TIME_S:
        raise ValueError(f"{time!r} is not a time; pass seconds since 1970")
    return float(time)


def _milliseconds(time_s: float) -> float:
    return math.nan if math.isnan(time_s) else float(math.floor(time_s * 1000.0 + 0.5))


def _value(value: float | None) -> float:
    if value is None:
        return math.nan
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not abs(value) < np.finfo(np.float32).max
    ):
        raise ValueError(f"value {value!r} is not a finite number; leave it out for an event without a value")
    return float(value)


def _check_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
