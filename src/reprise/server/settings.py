"""Resource limits and timeouts of a server. Limits of single request fields are in `reprise.server.http.schema`."""

from dataclasses import dataclass

from reprise.server.engine.requests import MAX_EVENT_AHEAD_S
from reprise.server.engine.state_builder import MAX_USER_EVENTS


@dataclass(frozen=True)
class Settings:
    """Resource limits and timeouts of a server."""

    max_body_bytes: int = 2**20
    """Maximum size of a request body, in bytes."""
    max_incomplete_body_bytes: int = 64 * 2**20
    """Maximum size of all bodies that have not arrived completely, in bytes. Above it the oldest one gets status 429."""
    body_timeout_s: float = 10.0
    """Maximum time for a request body to arrive, in seconds."""
    max_connections: int = 1_024
    """Maximum number of open connections. For a further one, a connection without a complete request or an idle one is
    closed; if there is none, the further one gets status 503."""
    max_connections_per_address: int = 512
    """Maximum number of open connections of one client address; 0 for no maximum. In IPv6, a /64 prefix is one address."""
    head_timeout_s: float = 10.0
    """Maximum time for the request line and the headers to arrive, in seconds, from the connection or the first byte on."""
    keep_alive_timeout_s: int = 5
    """Time after which a connection without requests is closed, in seconds."""
    write_timeout_s: float = 30.0
    """Maximum time for a client to read a response, in seconds. After it the connection is closed."""
    max_head_bytes: int = 32 * 1024
    """Maximum size of the request line and the headers, and of trailers and chunk extensions, in bytes."""
    max_url_bytes: int = 8 * 1024
    """Maximum size of a URL, in bytes."""
    max_headers: int = 100
    """Maximum number of headers of a request."""
    max_event_ahead_s: float = MAX_EVENT_AHEAD_S
    """Maximum time of an event after the server's clock, in seconds. Later events are rejected."""
    queue_timeout_s: float = 5.0
    """Maximum time a request waits in a queue, in seconds. After it the request gets status 503."""
    max_loop_lag_s: float = 0.25
    """Maximum event-loop lag, in seconds. With more lag, requests get status 429 before their body is read."""
    max_pending_queries: int = 128
    """Maximum number of pending quick queries. Further ones get status 429."""
    max_batch_queries: int = 8
    """Maximum number of queries answered together."""
    max_pending_slow_jobs: int = 64
    """Maximum number of pending slow jobs of one API key, such as explanations and continuations. Further ones get 429."""
    slow_threads: int = 2
    """Number of threads for slow jobs. With several, one job of some seconds does not block all others."""
    max_user_events: int | None = MAX_USER_EVENTS
    """Maximum number of events of one user that a state is computed from (`StateBuilder.window_start`). None: all."""
    max_user_events_per_minute: int | None = None
    """Maximum number of events of one user to store per minute, in each process. Further ones are rejected. None: all."""
    max_pending_replays: int = 64
    """Maximum number of users of one API key whose long histories wait for being replayed. Further ones get status 429."""
    max_pending_events: int = 20_000
    """Maximum number of events waiting to be written."""
    max_batch_events: int = 1_000
    """Maximum number of events written in one commit."""
    log_answers: bool = True
    """Whether to keep answers of recommendations in the answer log, if the store has one (`KeepsAnswers`)."""
    answer_days: int = 90
    """Days after which an answer is deleted."""
    max_answers: int = 1_000_000
    """Maximum number of answers in the answer log. The oldest are deleted."""
    max_pending_answers: int = 10_000
    """Maximum number of answers that wait to be written. Further ones are dropped and counted."""
    max_state_bytes: int = 256 * 2**20
    """Maximum memory of cached user states, in bytes. The least recently used states are dropped."""
    refresh_interval_s: float = 1.0
    """Seconds between reads of other processes' item changes and deletions; also how long a check of the store holds."""
    model_timeout_s: float = 120.0
    """Maximum time to load and check another model, in seconds. After it the old model stays."""
    shutdown_timeout_s: int = 10
    """Maximum time of a shutdown in seconds. Requests that still run 3 s before its end get status 503."""
