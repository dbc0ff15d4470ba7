"""The bodies of requests for forecasts and of their responses."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from reprise.server.engine.forecast_inference import ForecastResult
from reprise.server.http.event_schema import ResponsePart
from reprise.server.http.field_types import Timestamp, as_integer
from reprise.server.http.schema import UserContextBody


class ForecastBody(UserContextBody):
    """A request for a forecast of the next event."""

    length: Annotated[int, Field(ge=0, le=20), BeforeValidator(as_integer)] = 3
    """Number of events of the path. 0: no path."""
    now: Timestamp | None = None
    """The time for which to forecast. Default: the time of the request."""


class KindProbability(ResponsePart):
    """The probability that the next event has a kind."""

    kind: str
    """Name of the kind of event."""
    probability: float
    """Calibrated probability, 0 to 1."""


class WaitQuantile(ResponsePart):
    """A quantile of the time to the next event."""

    share: float
    """Share of the probability, 0 to 1."""
    seconds: float
    """Seconds from now within which the next event comes with this probability."""


class NextTimePart(ResponsePart):
    """The time to the next event, in seconds from now, given that there is one."""

    same_time: float
    """Probability that the next event has the time of the last one. 0 if time has passed since."""
    expected_s: float
    """Expected seconds. A few very long waits may make it much longer than the median."""
    median_s: float
    """Seconds within which the next event comes with a probability of one half."""
    quantiles: list[WaitQuantile]
    """Quantiles, by rising share."""


class PathEvent(ResponsePart):
    """One event of a likely path."""

    item_id: str | int
    """Id in the form in which the model was trained: text, or a whole number."""
    title: str | None
    """Title of the item. null: it has none."""
    log_probability: float
    """Natural logarithm of the probability of the item given the events before it."""
    kind: str | None
    """Most probable kind. null: the model does not forecast kinds."""
    after_s: float | None
    """Sum of the median waits up to the event, in seconds from now. null: the model does not forecast times."""


class ForecastResponse(ResponsePart):
    """What comes next for a user, given that something comes."""

    kinds: list[KindProbability] | None
    """Kinds of the next event, the most probable first. null: the model does not forecast kinds."""
    time: NextTimePart | None
    """Time to the next event. null: the model does not forecast times."""
    path: list[PathEvent]
    """A likely path of the next events, in order."""
    events: int
    """Number of events in the state of the user."""
    skipped: int
    """Number of events of items that the model does not know. Their kinds and times are read."""
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
