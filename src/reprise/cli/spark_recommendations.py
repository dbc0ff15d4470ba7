"""`reprise recommend --engine spark`: the model, the log and the output of a command whose users Spark answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprise.cli.history_batches import show_users
from reprise.errors import ConfigError

if TYPE_CHECKING:
    from reprise.recommender.recommender import Recommender


def recommend_on_spark(
    model: Path,
    histories: Sequence[str],
    out: Path | None,
    *,
    recommender: "Recommender",
    master: str | None,
    delimiter: str | None,
    send_model: bool,
    options: dict[str, Any],
) -> None:
    """Write the recommendations for all users of a log to a directory of Parquet files.

    Args:
        model: Directory of a run or of a saved model.
        histories: Paths of the log.
        out: The directory.
        recommender: The model, opened from `model`.
        master: Where tasks run.
        delimiter: Separator of the values in text files.
        send_model: Whether Spark sends the model to the workers. A run is always sent, as a saved model.
        options: Arguments of `reprise.spark.recommend`.

    Raises:
        RepriseError: The log cannot be read, Spark cannot be started, or the directory cannot be written.
    """
    # optional dependencies, and a start of some seconds
    from reprise.data.io.spark_logs.path_reading import read_paths
    from reprise.data.io.spark_session import open_session
    from reprise.spark.answer_frame import SentModel, answers
    from reprise.spark.write_answers import check_directory, write_answers

    if out is None:
        raise ConfigError("Spark writes a directory of Parquet files; name it with --out")
    check_directory(out)
    inputs = [Path(path).absolute() for path in histories]
    if any(path == out.absolute() or out.absolute() in path.parents for path in inputs):
        raise ConfigError(f"cannot write {out}: the command reads it; name another directory")
    log = read_paths(open_session(master), histories, delimiter)
    saved = (model / "manifest.json").is_file() and not send_model
    on_workers: Path | SentModel = model if saved else SentModel(recommender)
    show_users(*write_answers(answers(log, on_workers, **options), out))


def check_engine(engine: str | None, master: str | None, send_model: bool) -> None:
    """Check that options of Spark are given with it only.

    Raises:
        ConfigError: One of them is given without it.
    """
    given = [name for name, value in (("--master", master), ("--send-model", send_model)) if value]
    if given and engine != "spark":
        raise ConfigError(f"{given[0]} is an option of Spark; add --engine spark, or omit it")
