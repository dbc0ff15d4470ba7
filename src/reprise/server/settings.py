"""The limits of a server, each with what it protects. Those of single fields stand in the schema."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What a server takes, holds and waits for."""

    body_bytes: int = 2**20
    """Of one request, at most."""
    future_s: float = 300.0
    """How far an event may be ahead of the server's clock."""
    deadline_s: float = 5.0
    """How long a request waits to be begun; then it is answered with 503."""
    waiting: int = 128
    """Questions that wait, at most; one more is answered with 429."""
    waiting_slow: int = 64
    """Questions that take longer (a long past to fold, explanations, continuations), at most."""
    slow_threads: int = 2
    """Of these that are worked on at once: one that takes seconds does not hold up all others."""
    waiting_events: int = 20_000
    """Events that wait to be written, at most."""
    body_s: float = 10.0
    """How long the body of a request may take to arrive."""
    connections: int = 1_024
    """At once, at most; more are answered with 503 by the HTTP server itself."""
    late_s: float = 0.25
    """How far the event loop may be behind; further, and what is asked is answered with 429 before it is read."""
    together: int = 8
    """Questions that are answered together, at most."""
    written_together: int = 1_000
    """Events that are written with one commit, at most."""
    state_bytes: int = 256 * 2**20
    """Memory for the states of users; the ones who were asked for longest ago make room."""
    follow_s: float = 1.0
    """How often the server looks for what other processes were told of items and whom they forgot; and how long it is
    believed that events can be written."""
    drain_s: int = 10
    """How long requests that were begun may go on when the server is asked to end."""
