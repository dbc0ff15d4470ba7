"""Analysis of the answer log of an event store: click rates, and the A/B test if there was one."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, NamedTuple

from reprise.data.timestamps import format_iso
from reprise.errors import ConfigError
from reprise.feedback.click_rates import ClickRate, click_rates
from reprise.feedback.drift_sources import ALL_USERS, user_events
from reprise.feedback.off_policy import OffPolicyEstimate
from reprise.feedback.outcomes import DAY_MS, Outcomes, match_responses
from reprise.feedback.sequential_test import VariantTest, assign_users, compare_variants, share_p_value
from reprise.feedback.user_ratios import RatioEstimate
from reprise.server.store.answer_log import FOREVER_MS, KeepsAnswers, Response
from reprise.server.store.event_store import EventStore


@dataclass(frozen=True)
class FeedbackOptions:
    """What to analyse, and how."""

    tenant: str = "default"
    """Tenant whose answers are read."""
    since_ms: int = 0
    """Start of the period, in milliseconds since 1970."""
    before_ms: int = FOREVER_MS
    """End of the period, in milliseconds since 1970."""
    window_ms: int = DAY_MS
    """Time after an answer within which an event counts, in milliseconds."""
    kind: str | None = None
    """Kind of events that the A/B test and the off-policy estimate count; None: any kind."""
    follow_ms: int = 7 * DAY_MS
    """Time of each user in the A/B test, in milliseconds from the first answer."""
    planned: int = 10_000
    """Number of users at which the A/B test is strongest."""
    split: Mapping[str, float] | None = None
    """Share of each variant as configured, to check the assignment; None: not checked."""
    level: float = 0.95
    """Confidence level of the intervals and of the A/B test."""
    by_item: bool = False
    """Whether events without the id of an answer count too, see `match_responses`. All users of the tenant are read."""


class CandidateEstimate(NamedTuple):
    """Response rates of explored items, weighted so that each item that could have been drawn counts equally."""

    top: int
    """Number of best items of the candidate that count as its choice."""
    chosen: OffPolicyEstimate
    """Estimates for the items among the candidate's best. `snips` is their response rate; `ips` is that rate times the number
    of drawable items that the candidate chooses, which is `mean_weight`."""
    every: OffPolicyEstimate
    """The same for all items that could be drawn: the response rate without a choice."""
    difference: RatioEstimate | None
    """`chosen.snips` minus `every.snips`, with an interval over users. None: no item was among the candidate's best."""
    left_out: int
    """Number of explored impressions without a user, or whose user has no events in the store any more."""

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON values."""
        found = self._asdict()
        for name in ("chosen", "every"):
            found[name] = {
                key: value._asdict() if isinstance(value, RatioEstimate) else value
                for key, value in found[name]._asdict().items()
            }
        return found | {"difference": self.difference and self.difference._asdict()}


@dataclass(frozen=True)
class Feedback:
    """Results of an analysis."""

    tenant: str
    """Tenant of the answers."""
    first: str | None
    """Time of the first answer in ISO 8601; None: there are no answers."""
    last: str | None
    """Time of the last answer in ISO 8601."""
    answers: int
    """Number of answers."""
    users: int
    """Number of users, where each answer without a user counts as one."""
    impressions: int
    """Number of items in the answers."""
    responses: int
    """Number of impressions from which an event followed."""
    unmatched: int
    """Number of events with an answer's id that match no impression of the period."""
    models: list[ClickRate]
    """Click rates by model."""
    variants: list[ClickRate]
    """Click rates by variant of an A/B test."""
    tests: list[VariantTest]
    """Comparisons of the variants with the first one."""
    mixed_users: int
    """Number of users with several variants, whom the A/B test leaves out."""
    split_p_value: float | None
    """p value of a sample ratio mismatch; None: not checked."""
    level: float
    """Confidence level."""
    candidate: CandidateEstimate | None = None
    """Off-policy estimate for a candidate model; None: there was no candidate."""

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON values. Intervals are `{"value", "low", "high"}`."""
        found = asdict(self)
        for name in ("models", "variants"):
            found[name] = [{**one._asdict(), "rate": one.rate._asdict()} for one in getattr(self, name)]
        found["tests"] = [
            {**one._asdict(), "difference": one.difference and one.difference._asdict()} for one in self.tests
        ]
        found["candidate"] = None if self.candidate is None else self.candidate.to_dict()
        return found


def answer_log(store: EventStore) -> KeepsAnswers:
    """Return a store as one with an answer log.

    Raises:
        ConfigError: the store has no answer log.
    """
    if not isinstance(store, KeepsAnswers):
        raise ConfigError(
            f"a store of the class {type(store).__name__} has no answer log; use SQLite, PostgreSQL or a class with the "
            "methods of KeepsAnswers"
        )
    return store


def read_outcomes(store: EventStore, options: FeedbackOptions) -> Outcomes:
    """Return the impressions of a period with the events that followed from them, also after the end of the period.

    Raises:
        ConfigError: the store has no answer log.
        StoreError: the store does not respond.
    """
    log = answer_log(store)
    end_ms = min(FOREVER_MS, options.before_ms + options.window_ms)
    answers = log.answers(options.tenant, options.since_ms, options.before_ms)
    responses = log.responses(options.tenant, options.since_ms, end_ms)
    if options.by_item:
        named = [*responses]
        known = {_key(one) for one in named}
        others = (one for one in _unnamed_events(store, options, end_ms) if _key(one) not in known)
        responses = chain(named, others)
    return match_responses(answers, responses, options.window_ms, by_item=options.by_item)


def _key(response: Response) -> tuple[str, str, int, str | None]:
    return response.user_hash, response.item_id, response.time_ms, response.kind


def _unnamed_events(store: EventStore, options: FeedbackOptions, end_ms: int) -> Iterator[Response]:
    """Yield all events of the period as responses without the id of an answer."""
    log = answer_log(store)
    for user, events in user_events(store, options.tenant, ALL_USERS, options.since_ms, end_ms):
        user_hash = log.user_hash(user)
        for event in events:
            yield Response("", event.time_ms or 0, event.item_id, event.kind, event.value, user_hash)


def analyse(outcomes: Outcomes, options: FeedbackOptions) -> Feedback:
    """Return click rates by model and variant, and the A/B test.

    Raises:
        ConfigError: an option is out of range.
    """
    users = assign_users(outcomes, options.kind, options.follow_ms, options.window_ms)
    times = [answer.time_ms for answer in outcomes.answers]
    now_ms = min(time.time_ns() // 1_000_000, options.before_ms)
    return Feedback(
        tenant=options.tenant,
        first=format_iso(min(times)) if times else None,
        last=format_iso(max(times)) if times else None,
        answers=len(times),
        users=len({*outcomes.user_N.tolist()}),
        impressions=len(outcomes.user_N),
        responses=int(outcomes.responded().sum()),
        unmatched=outcomes.unmatched,
        models=click_rates(outcomes, "model", level=options.level),
        variants=click_rates(outcomes, "variant", level=options.level),
        tests=compare_variants(users, now_ms, level=options.level, planned=options.planned),
        mixed_users=users.mixed,
        split_p_value=share_p_value(users, options.split) if options.split and users.variant_U else None,
        level=options.level,
    )
