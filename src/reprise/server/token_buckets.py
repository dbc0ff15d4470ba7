"""Rate limits as token buckets: a sustained rate, and short bursts of up to one minute's tokens.

A bucket is one number, the time at which it would be full again. This is the generic cell rate algorithm (ITU-T I.371).
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
MINUTE_S = 60.0
MAX_BUCKETS = 100_000
"""Default number of buckets that are remembered."""


class TokenBuckets(Generic[Owner]):
    """A token bucket for each owner, such as an API key or a user. Safe to call from several threads.

    Args:
        max_buckets: Number of buckets that are remembered. Beyond it, the bucket that was used least recently is dropped, and
            is full the next time.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, max_buckets: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_buckets, self._clock = max_buckets, clock
        self._full_at: OrderedDict[Owner, float] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of buckets that are remembered."""
        return len(self._full_at)

    def take(self, owner: Owner, per_minute: int) -> float:
        """Take one token from the bucket of an owner, which holds `per_minute` tokens and is filled at that rate.

        Returns:
            0 if there was a token; otherwise the time until there is one, in seconds, and no token is taken.
        """
        token_s = MINUTE_S / per_minute
        with self._lock:
            now = self._clock()
            full_at = max(now, self._full_at.get(owner, now)) + token_s
            wait_s = full_at - now - MINUTE_S
            if wait_s > 1e-6:  # rounding must not refuse the last token
                return wait_s
            self._full_at[owner] = full_at
            self._full_at.move_to_end(owner)
            if len(self._full_at) > self._max_buckets:
                self._full_at.popitem(last=False)
            return 0.0
