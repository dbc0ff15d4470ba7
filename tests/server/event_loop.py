"""Asynchronous tests."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

Parameters = ParamSpec("Parameters")


def on_event_loop(test: Callable[Parameters, Awaitable[None]]) -> Callable[Parameters, None]:
    """Run an asynchronous test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        async def scenario() -> None:
            await test(*args, **kwargs)

        asyncio.run(scenario())

    return run
