"""Recommendations for the users of a data frame, as a data frame."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from reprise.errors import DataError
from reprise.frame_output import FrameLibrary, frame_of

if TYPE_CHECKING:
    from reprise.recommender.recommendations import Recommendations

OPTIONAL = ("time", "kind", "value")
"""Roles of columns that a history may have besides the user and the item."""
FIELD = {"time": "timestamp", "kind": "kind", "value": "value"}
"""Name of the field of an event for each of these roles."""


class RecommendsMany(Protocol):
    """Anything with the method `recommend_many` of a `Recommender`."""

    def recommend_many(self, histories: Any, k: int = 10, **rules: Any) -> "list[Recommendations]":
        """See `Recommender.recommend_many`."""
        ...


class FrameRecommendations:
    """The method `recommend_frame` of a recommender."""

    def recommend_frame(self: RecommendsMany, frame: Any, k: int = 10, **rules: Any) -> Any:
        """Return recommendations for each user of a data frame of events.

        Args:
            frame: pandas or polars frame with one row per event. Its columns are recognised by their names as in
                `read_events`; it needs a user and an item, and may have a time, a kind and a value. With a time, the events
                of a user are sorted by it; without one they are in the order of the rows.
            k: Number of items for each user.
            **rules: Further arguments of `recommend_many`, such as `exclude_seen`.

        Returns:
            A frame of the same library with the columns `user_id`, `rank`, `item_id`, `score` and `title`, the users in the
            order of their first row.

        Raises:
            DataError: the frame has no user or item column, or an event cannot be read.
        """
        library = _library(frame)
        columns = _columns(frame)
        histories: dict[Any, list[dict[str, Any]]] = {}
        names = [name for name in ("item", *OPTIONAL) if name in columns]
        for user, *values in zip(columns["user"], *(columns[name] for name in names), strict=True):
            event = {FIELD.get(name, "item_id"): value for name, value in zip(names, values, strict=True)}
            histories.setdefault(user, []).append(event)
        if "time" in columns:
            for events in histories.values():
                events.sort(key=lambda event: event["timestamp"])
        answers = self.recommend_many([*histories.values()], k, **rules)
        rows = [
            (user, item.rank, item.item_id, item.score, item.title)
            for user, answer in zip(histories, answers, strict=True)
            for item in answer
        ]
        named = ("user_id", "rank", "item_id", "score", "title")
        return frame_of({name: [row[place] for row in rows] for place, name in enumerate(named)}, library)


def _library(frame: Any) -> FrameLibrary:
    module = type(frame).__module__.partition(".")[0]
    if module == "pandas" and hasattr(frame, "columns"):
        return "pandas"
    if module == "polars" and hasattr(frame, "columns"):
        return "polars"
    raise DataError(
        f"recommend_frame takes a pandas or polars data frame, got {type(frame).__name__}; use recommend_many for histories"
    )


def _columns(frame: Any) -> Mapping[str, list[Any]]:
    """Return the values of the columns of a frame by role."""
    # imported here: the reading of logs imports a table engine, which a server does without
    from reprise.data.io.events import find_column

    names = [str(name) for name in frame.columns]
    found = {role: find_column(role, names) for role in ("user", "item", *OPTIONAL)}
    missing = [role for role in ("user", "item") if found[role] is None]
    if missing:
        raise DataError(
            f"the frame has no {' and no '.join(missing)} column (it has {', '.join(names)}); rename its columns to user_id "
            "and item_id"
        )
    return {role: frame[name].to_list() for role, name in found.items() if name is not None}
