"""The bodies of requests for forecasts and of their responses. Numbers are null for an API key that may not see them."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from reprise.server.engine.forecast_inference import ForecastResult
from reprise.server.http.event_schema import ResponsePart
from reprise.server.http.field_types import Timestamp, as_integer
from reprise.server.http.schema import UserContextBody


class ForecastBody(UserContextBody):
    """A request for a forecast of the next event."""

    length: Annotated[int, Field(ge=0, le=20), BeforeValidator(as_integer)] = 3
    """Number of events of the path. 0: the path is empty."""
    now: Timestamp | None = None
    """Time of the forecast, from which all seconds count. Default: the time of the request."""


class KindProbability(ResponsePart):
    """A kind of event and the probability that the next event is of this kind."""

    kind: str
    """Name of the kind of event."""
    probability: float | None
    """Calibrated probability, 0 to 1. null: not shown to this API key."""


class WaitQuantile(ResponsePart):
    """A quantile of the time to the next event."""

    share: float
    """Probability of the quantile, 0 to 1."""
    seconds: float | None
    """Seconds from now within which the next event comes with the probability `share`. null: not shown to this API key."""


class NextTimePart(ResponsePart):
    """The time to the next event, in seconds from now, given that there is one. All numbers are null for an API key that
    may not see them."""

    same_time: float | None
    """Probability that the next event has the same time as the last one. 0 if `now` is after the last event."""
    expected_s: float | None
    """Mean of the distribution, in seconds. Rare long waits can make it much larger than the median."""
    median_s: float | None
    """Median of the distribution, in seconds."""
    quantiles: list[WaitQuantile]
    """Quantiles of the distribution, in ascending order of `share`."""


class PathEvent(ResponsePart):
    """One event of the path."""

    item_id: str | int
    """Id in the form in which the model was trained: text, or a whole number."""
    title: str | None
    """Title of the item. null: it has none."""
    log_probability: float | None
    """Natural logarithm of the probability of the item given the events before it. null: not shown to this API key."""
    kind: str | None
    """Most probable kind. null: the model does not forecast kinds."""
    after_s: float | None
    """Sum of the median waits up to the event, in seconds from now. null: the model does not forecast times, or it is not
    shown to this API key."""


class ForecastResponse(ResponsePart):
    """A forecast of the next events of a user, given that a next event comes."""

    kinds: list[KindProbability] | None
    """Probabilities of the kinds of the next event, most probable first. null: the model does not forecast kinds."""
    time: NextTimePart | None
    """Distribution of the time to the next event. null: the model does not forecast times."""
    path: list[PathEvent]
    """A likely sequence of the next events, in order."""
    events: int
    """Number of events in the state of the user."""
    skipped: int
    """Number of events of items that the model does not know. The forecast uses only their kinds and times."""
    model_version: str
    """Version of the model that made the forecast."""
    recommendation_id: str
    """Id of this response. The server's log has the same id."""


def forecast_parts(result: ForecastResult) -> dict[str, Any]:
    """Return a forecast as the fields of a `ForecastResponse`, without the version of the model and the id."""
    kinds, wait, path, _ = result.forecast
    return {
        "kinds": None if kinds is None else [{"kind": kind, "probability": p} for kind, p in kinds.items()],
        "time": None
        if wait is None
        else {
            "same_time": wait.same_time,
            "expected_s": wait.expected_s,
            "median_s": wait.median_s,
            "quantiles": [
                {"share": share, "seconds": seconds} for share, seconds in wait.quantiles_s.items()
            ],
        },
        "path": [step._asdict() for step in path],
        "events": result.event_count,
        "skipped": result.skipped_count,
    }
