"""Calls that may never return, run so that nothing waits for them longer than a time limit."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


async def call_with_timeout(function: Callable[[], Result], timeout_s: float) -> Result:
    """Call a function in a thread of its own and return its result.

    A thread cannot be stopped. After the time limit its result is discarded; as a daemon thread it does not delay the end of
    the process, which the threads of `asyncio.to_thread` would.

    Args:
        function: Function without arguments.
        timeout_s: Maximum time to wait, in seconds.

    Raises:
        TimeoutError: the function did not return in time.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():
            return  # the time limit has passed
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, caught = None, None
        try:
            result = function()
        except Exception as error:
            caught = error
        with suppress(RuntimeError):  # the event loop was closed in the meantime
            loop.call_soon_threadsafe(deliver, result, caught)

    threading.Thread(target=run, name="timed-call", daemon=True).start()
    async with asyncio.timeout(timeout_s):
        return await future
