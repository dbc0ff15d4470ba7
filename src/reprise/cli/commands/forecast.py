"""`reprise forecast`: the kind and the time of the next event for the histories in a file."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

import typer

from reprise.cli.history_batches import open_histories, open_recommender, parse_time, show_users
from reprise.cli.shared_options import (
    DatasetOption,
    Delimiter,
    HistoryKey,
    HistoryPaths,
    ItemColumn,
    KindColumn,
    ModelPath,
    RequestTime,
    SessionColumn,
    TimeColumn,
    TimeUnitOption,
    TimeZone,
    Trusted,
    UserColumn,
    Verify,
    check_output_file,
)

if TYPE_CHECKING:
    from reprise.data.vocabulary import ItemId
    from reprise.recommender.forecaster import Forecast

EXAMPLE = "reprise forecast runs/shop this_week.parquet --length 3 --out next.jsonl"


def forecast(
    model: ModelPath,
    histories: HistoryPaths,
    length: Annotated[
        int, typer.Option("--length", metavar="N", min=0, help="Number of next events to forecast as a path.")
    ] = 3,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write, JSON lines.", show_default="standard output"),
    ] = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    session_column: SessionColumn = None,
    kind_column: KindColumn = None,
    sequence_by: HistoryKey = None,
    tz: TimeZone = None,
    time_unit: TimeUnitOption = None,
    delimiter: Delimiter = None,
    now: RequestTime = None,
    dataset: DatasetOption = None,
    verify: Verify = None,
    trusted: Trusted = False,
) -> None:
    """Write the kind and the time of the next event, and a likely path of next events, for every user of a file."""
    from reprise.data.io.events import Columns, read_events
    from reprise.data.io.result_files import JsonLines, ResultWriter

    check_output_file(out)
    recommender = open_recommender(model, dataset, trusted=trusted, verify=verify)
    columns = Columns(user_column, item_column, time_column, session_column, kind_column)
    log = read_events(histories, columns, tz=tz, time_unit=time_unit, delimiter=delimiter)
    request_time = parse_time(now, tz)
    batches = open_histories(recommender, log, out, sequence_by=sequence_by, with_times=True)
    users, skipped = 0, 0
    with closing(batches), ResultWriter(out, JsonLines) as writer:
        for keys, events in batches:
            results = recommender.forecast_many(events, length, now=request_time)
            for key, result in zip(keys, results, strict=True):
                writer.add(ForecastLine.of(key, result))
                skipped += result.skipped
            writer.flush()
            users += len(keys)
    show_users(users, skipped)


class ForecastLine(NamedTuple):
    """The forecast for one user, as JSON values."""

    user_id: "ItemId"
    kinds: dict[str, float] | None
    time: dict[str, Any] | None
    path: list[dict[str, Any]]
    skipped: int

    @classmethod
    def of(cls, user_id: "ItemId", found: "Forecast") -> Self:
        """Return the line of a user."""
        wait = found.time
        time = (
            None
            if wait is None
            else {**wait._asdict(), "quantiles_s": {str(share): s for share, s in wait.quantiles_s.items()}}
        )
        return cls(user_id, found.kinds, time, [step._asdict() for step in found.path], found.skipped)
