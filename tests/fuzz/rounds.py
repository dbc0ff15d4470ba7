"""Rounds of random examples, and what the fuzzers share."""

import os
import random
import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, seed, settings
from typer.testing import CliRunner, Result

from reprise.cli.main import app

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
"""Wall-clock seconds for all properties together; 0: one short round of each."""
GIVEN_SEED = int(os.environ.get("FUZZ_SEED", "0"))
"""Seed of the first round; 0: a random one."""
FIRST_SEED = GIVEN_SEED or (random.SystemRandom().randrange(2**32) if SECONDS else 0)
"""Seed of the first round; each further round adds one."""
PHASES = [Phase.generate, *([Phase.shrink] if GIVEN_SEED else [])]
"""Phases of Hypothesis. It shrinks a failing example, which can take minutes, only when the round is repeated by its seed."""
EXAMPLES = 20 if SECONDS else 5
"""Number of examples in a round."""
TINY = ["--set", "model.size=8", "--set", "model.layers=1", "--set", "training.epochs=1", "--threads", "1"]
"""Options that train a network within a second."""

Fuzz = Callable[[Callable[[], None]], None]
"""A function that checks a property, wrapped by `hypothesis.given`."""


def check_in_rounds(property_: Callable[[], None], name: str, share_s: float) -> None:
    """Check a property in rounds of examples until the time is over, and print how many there were.

    Args:
        property_: Property, wrapped by `hypothesis.given`.
        name: Name of the test, for the output.
        share_s: Seconds after which no new round begins.
    """
    configured = settings(
        max_examples=EXAMPLES,
        phases=PHASES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(property_)
    until_s, rounds = time.monotonic() + share_s, 0
    while not rounds or time.monotonic() < until_s:
        number = FIRST_SEED + rounds
        try:
            seed(number)(configured)()
        except BaseException as error:
            error.add_note(f"repeat with FUZZ_SECONDS=1 FUZZ_SEED={number}")
            raise
        rounds += 1
    print(f"{name}: {rounds} rounds of {EXAMPLES} examples from seed {FIRST_SEED}")


def run_command(arguments: list[str]) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, arguments)


def check_message(error: BaseException) -> None:
    """Check that a message is for a user: not empty, of limited length, without the words of a traceback."""
    message = str(error)
    assert 10 < len(message) < 3_000, f"{type(error).__name__}: {message[:4_000]!r}"
    assert "Traceback" not in message, message
