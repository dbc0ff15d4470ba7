"""Click rates: the share of impressions from which an event followed, by model or variant, position and kind of event.

Shape letters: N impressions.
"""

from typing import Literal, NamedTuple

import numpy as np

from reprise.argument_checks import choice, whole
from reprise.feedback.outcomes import Outcomes, per_user
from reprise.feedback.user_ratios import RatioEstimate, check_level, proportion


class ClickRate(NamedTuple):
    """The click rate of a group of impressions."""

    group: str
    """Name of the model or of the variant."""
    position: int | None
    """Position in the answers, from 1; None: all positions."""
    kind: str | None
    """Kind of the events; None: any kind."""
    impressions: int
    """Number of impressions."""
    responses: int
    """Number of impressions from which an event followed."""
    users: int
    """Number of users."""
    rate: RatioEstimate
    """Responses divided by impressions, with an interval over users."""


def click_rates(
    outcomes: Outcomes,
    by: Literal["model", "variant"] = "model",
    *,
    positions: int = 10,
    level: float = 0.95,
) -> list[ClickRate]:
    """Return the click rates of each model or variant: of all positions for any kind and for each kind, then by position.

    The rates of different models are comparable only if the same users could have had each of them, as in an A/B test.

    Args:
        outcomes: Impressions with their responses.
        by: What to group the impressions by.
        positions: Number of positions with a rate of their own.
        level: Confidence level of the intervals.

    Raises:
        ConfigError: an argument is out of range.
    """
    by = choice("by", by, ("model", "variant"))  # type: ignore[assignment]
    positions, level = whole("positions", positions, low=0), check_level(level)
    found = []
    for group, own_N in outcomes.groups(by).items():
        cells: list[tuple[int | None, str | None]] = [
            (None, None),
            *((None, kind) for kind in outcomes.kinds),
        ]
        cells += [(position, None) for position in range(1, positions + 1)]
        for position, kind in cells:
            cell_N = own_N if position is None else own_N & (outcomes.position_N == position)
            if not cell_N.any():
                continue
            hit_N = outcomes.responded(kind)[cell_N]
            user_N = outcomes.user_N[cell_N]
            trials_U = per_user(user_N, np.ones(len(user_N)))
            rate = proportion(per_user(user_N, hit_N), trials_U, level)
            found.append(ClickRate(group, position, kind, len(hit_N), int(hit_N.sum()), len(trials_U), rate))
    return found
