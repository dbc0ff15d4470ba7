"""Reading of request bodies: their media type and encoding, and the limits of time, of size and of all bodies together."""

import asyncio

from starlette.requests import Request

from reprise.server.http.api_errors import JSON, ApiError
from reprise.server.settings import Settings


class BodyReader:
    """Reads the bodies of requests. If the bodies that have not arrived completely are too large together, the oldest fails.

    A client that sends its body without a pause is finished before that, so others cannot keep it from being read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sizes: dict[asyncio.Timeout, int] = {}  # of the bodies that are read, oldest first
        self._total = 0

    async def read(self, request: Request) -> bytes:
        """Return the body of a request.

        Raises:
            ApiError: the body is not JSON without compression, or exceeds a limit of time or size.
        """
        _check_encoding(request)
        settings = self._settings
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > settings.max_body_bytes:
            raise _payload_too_large(settings.max_body_bytes)
        timeout = asyncio.timeout(settings.body_timeout_s)
        self._sizes[timeout] = 0
        try:
            async with timeout:
                return await self._read_parts(request, timeout)
        except TimeoutError:
            if timeout not in self._sizes:
                raise ApiError(
                    "overloaded",
                    "too many large bodies are being sent",
                    "send smaller requests, or retry later",
                ) from None
            raise ApiError(
                "request_timeout",
                f"the body took longer than {settings.body_timeout_s:g} s to arrive",
                "send it without pauses, or in several requests",
            ) from None
        finally:
            self._total -= self._sizes.pop(timeout, 0)

    async def _read_parts(self, request: Request, timeout: asyncio.Timeout) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self._settings.max_body_bytes:
                raise _payload_too_large(self._settings.max_body_bytes)
            parts.append(part)
            self._add(timeout, len(part))
        return b"".join(parts)

    def _add(self, timeout: asyncio.Timeout, size: int) -> None:
        """Count a part of a body, and stop reading the oldest bodies if all are too large together."""
        if timeout not in self._sizes:
            return  # its reading ends already
        self._sizes[timeout] += size
        self._total += size
        while self._total > self._settings.max_incomplete_body_bytes:
            oldest = next(iter(self._sizes))
            self._total -= self._sizes.pop(oldest)
            if not oldest.expired():
                oldest.reschedule(0)  # a time in the past


def _check_encoding(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise ApiError(
            "unsupported_media_type",
            f"the Content-Type of the body is {media_type[:100] or 'missing'}",
            f"send Content-Type: {JSON}",
        )
    codings = request.headers.getlist("transfer-encoding")
    if any(coding.strip().lower() != "chunked" for coding in codings):
        raise ApiError(
            "unsupported_media_type",
            f"the body has Transfer-Encoding {', '.join(codings)[:100]}",
            "send it without compression; the only supported Transfer-Encoding is chunked",
        )
    encodings = [one.strip().lower() for one in request.headers.getlist("content-encoding")]
    if any(one not in ("", "identity") for one in encodings):
        raise ApiError(
            "unsupported_media_type",
            f"the body has Content-Encoding {', '.join(encodings)[:100]}",
            "send it without compression and without the header Content-Encoding",
        )


def _payload_too_large(max_bytes: int) -> ApiError:
    return ApiError(
        "payload_too_large", f"the body is larger than {max_bytes} bytes", "send several smaller requests"
    )
