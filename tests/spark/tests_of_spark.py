"""Commands and a log with ties for the tests of Spark."""

import random

import pyarrow as pa
from typer.testing import CliRunner, Result

from reprise.cli.main import app

ITEMS, USERS = 40, 23
START_S = 1_700_000_000


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> Result:
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fails(*arguments: object) -> str:
    result = command(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output and "\tat org.apache" not in result.output
    return result.stderr.removeprefix("reprise: ").rstrip("\n")


def table(users: int = USERS, events: int = 400, seed: int = 0, unknown: int = 3) -> pa.Table:
    """Events with many equal times, duplicates and unknown items, in no order."""
    generator = random.Random(seed)
    return pa.table(
        {
            "user_id": [f"u{generator.randrange(users)}" for _ in range(events)],
            "item_id": pa.array([generator.randrange(ITEMS + unknown) for _ in range(events)], pa.int64()),
            "timestamp": pa.array([START_S + generator.randrange(20) for _ in range(events)], pa.int64()),
        }
    )
