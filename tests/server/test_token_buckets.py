"""Token buckets: bursts, refill, owners, and the number of buckets that are remembered."""

from reprise.server.token_buckets import TokenBuckets


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minute_of_tokens_can_be_taken_together() -> None:
    buckets: TokenBuckets[str] = TokenBuckets(clock=Clock())
    assert [buckets.take("a", 5) for _ in range(5)] == [0.0] * 5
    assert buckets.take("a", 5) == 12.0  # a token takes 60 / 5 seconds


def test_a_refusal_takes_no_token_and_names_the_time_to_the_next_one() -> None:
    clock = Clock()
    buckets: TokenBuckets[str] = TokenBuckets(clock=clock)
    for _ in range(60):
        assert buckets.take("a", 60) == 0
    for _ in range(3):
        assert buckets.take("a", 60) == 1.0
    clock.now += 1.0
    assert buckets.take("a", 60) == 0
    clock.now += 0.25
    assert buckets.take("a", 60) == 0.75


def test_the_sustained_rate_is_the_limit() -> None:
    clock = Clock()
    buckets: TokenBuckets[str] = TokenBuckets(clock=clock)
    taken = 0
    for _ in range(6000):  # ten minutes
        taken += buckets.take("a", 30) == 0
        clock.now += 0.1
    assert 30 + 10 * 30 - 1 <= taken <= 30 + 10 * 30 + 1


def test_owners_have_buckets_of_their_own() -> None:
    buckets: TokenBuckets[str] = TokenBuckets(clock=Clock())
    assert buckets.take("a", 1) == 0
    assert buckets.take("a", 1) > 0
    assert buckets.take("b", 1) == 0


def test_the_least_recently_used_bucket_is_forgotten() -> None:
    buckets: TokenBuckets[str] = TokenBuckets(2, Clock())
    for owner in "aabc":
        buckets.take(owner, 3)
    assert len(buckets) == 2
    assert [buckets.take("a", 3) == 0 for _ in range(4)] == [True, True, True, False]
