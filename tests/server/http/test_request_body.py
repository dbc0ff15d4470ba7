"""Reading of request bodies, without a network."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from app_client import http_scope
from starlette.requests import Request

from reprise.server.http.api_errors import ApiError
from reprise.server.http.request_body import BodyReader
from reprise.server.settings import Settings

JSON_TYPE = ("content-type", "application/json")


class Sender:
    """A client that sends the parts of a body one by one."""

    def __init__(self, reader: BodyReader, *headers: tuple[str, str]) -> None:
        self._parts: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        request = Request(http_scope("POST", "/v1/events", JSON_TYPE, *headers), self._receive)
        self.task = asyncio.create_task(reader.read(request))

    async def _receive(self) -> dict[str, Any]:
        part, more = await self._parts.get()
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(self, part: bytes, *, more: bool = True) -> None:
        """Send a part of the body."""
        self._parts.put_nowait((part, more))
        for _ in range(5):  # until the reader waits again
            await asyncio.sleep(0)

    async def fault(self) -> str:
        """Return the code of the error."""
        with pytest.raises(ApiError) as caught:
            await self.task
        return caught.value.code


def test_the_oldest_incomplete_body_fails_if_all_are_too_large_together() -> None:
    async def attack() -> None:
        reader = BodyReader(replace(Settings(), max_incomplete_body_bytes=1_000))
        held = [Sender(reader) for _ in range(12)]
        for sender in held:
            await sender.send(b"x" * 100)
        assert [sender.task.done() for sender in held] == [True, True] + [False] * 10
        assert [await sender.fault() for sender in held[:2]] == ["overloaded"] * 2
        other = Sender(reader)
        await other.send(b"{", more=True)
        await other.send(b"}", more=False)
        assert await other.task == b"{}"
        assert [sender.task.done() for sender in held[2:4]] == [True, False]
        for sender in held[3:]:
            await sender.send(b"", more=False)
            assert await sender.task == b"x" * 100
        last = Sender(reader)
        await last.send(b"y" * 1_000, more=False)
        assert await last.task == b"y" * 1_000

    asyncio.run(attack())


def test_a_body_whose_length_is_too_large_fails_before_it_arrives() -> None:
    async def announce() -> None:
        for length in (2**20 + 1, 10**10, 2**63):
            assert (
                await Sender(BodyReader(Settings()), ("content-length", str(length))).fault()
                == "payload_too_large"
            )
        whole = Sender(BodyReader(Settings()), ("content-length", str(2**20)))
        await whole.send(b" " * 2**20, more=False)
        assert len(await whole.task) == 2**20

    asyncio.run(announce())


def test_a_body_that_pauses_fails() -> None:
    async def pause() -> None:
        sender = Sender(BodyReader(replace(Settings(), body_timeout_s=0.01)))
        await sender.send(b"{")
        assert await sender.fault() == "request_timeout"

    asyncio.run(pause())
