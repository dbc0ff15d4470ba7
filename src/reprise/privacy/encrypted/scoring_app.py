"""The HTTP application of encrypted scoring: limits, errors by name, and one scoring after another in a thread."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reprise.errors import ConfigError, DataError
from reprise.privacy.encrypted.blind_scorer import BlindScorer, Blocks
from reprise.privacy.encrypted.ciphertext_bytes import QUERY_BYTES
from reprise.privacy.encrypted.ckks_parameters import DEGREE, MODULI_BITS
from reprise.privacy.encrypted.scoring_request import (
    FACTS_PATH,
    LENGTH,
    MAX_HEADER_BYTES,
    MEDIA_TYPE,
    SCORES_PATH,
    ScoringRequest,
    SecretKeyError,
    read_request,
)

BODY_TIMEOUT_S = 30.0
"""Time within which a body has to arrive."""
MAX_REQUESTS = 8
"""Largest number of requests that are received or wait for their scores: each holds about 7 MB at width 64."""
RETRY_S = 2
"""Value of the header `Retry-After` when there are more."""
STATUSES = {
    "invalid_request": 400, "not_found": 404, "method_not_allowed": 405, "request_timeout": 408, "conflict": 409,
    "payload_too_large": 413, "unsupported_media_type": 415, "secret_key": 422, "invalid_parameters": 422,
    "invalid_ciphertexts": 422, "unknown_items": 422, "internal": 500, "overloaded": 503,
}  # fmt: skip
"""Codes of errors and their HTTP statuses."""


class ScoringRefusedError(Exception):
    """A refused request: its code and the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def response(self) -> Response:
        """Return the HTTP response. Every error has this form."""
        headers = {"Retry-After": str(RETRY_S)} if self.code == "overloaded" else {}
        if self.code in ("request_timeout", "payload_too_large"):
            headers["Connection"] = "close"  # the rest of the body would be taken for the next request
        return JSONResponse(
            {"error": {"code": self.code, "message": str(self)}}, STATUSES[self.code], headers
        )


class ScoringApp:
    """Encrypted scores of the items of one model. It keeps and logs nothing of a request."""

    def __init__(
        self,
        scorer: BlindScorer,
        item_ids: Sequence[Any],
        model: str,
        *,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        """Create an application.

        Args:
            scorer: The encoded item vectors.
            item_ids: Ids of the items, in the order of the vectors.
            model: Checksum of the output vectors; clients with a folder of another model are refused.
            body_timeout_s: Time within which a body has to arrive, in seconds.
        """
        self._scorer, self._model, self._body_timeout_s = scorer, model, body_timeout_s
        self._row = {item_id: row for row, item_id in enumerate(item_ids)}
        self._max_body_bytes = LENGTH.size + MAX_HEADER_BYTES + 1024 + scorer.width * QUERY_BYTES
        self._requests = 0
        self._lock = asyncio.Lock()

    def application(self) -> Starlette:
        """Return the Starlette application."""
        routes = [
            Route(FACTS_PATH, self.facts, methods=["GET"]),
            Route(SCORES_PATH, self.scores, methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _http_error, 500: _internal_error})

    async def facts(self, request: Request) -> Response:
        """Describe the model: what a client needs to encrypt a query."""
        return JSONResponse(
            {
                "model": self._model,
                "items": self._scorer.items,
                "width": self._scorer.width,
                "norm": self._scorer.norm,
                "degree": DEGREE,
                "moduli_bits": MODULI_BITS,
                "max_body_bytes": self._max_body_bytes,
            }
        )

    async def scores(self, request: Request) -> Response:
        """Return the encrypted scores for an encrypted query."""
        if self._requests >= MAX_REQUESTS:
            return ScoringRefusedError(
                "overloaded", "too many requests wait for scores; retry later"
            ).response()
        self._requests += 1
        try:
            answer = await self._answer(await self._body(request))
        except ScoringRefusedError as refusal:
            return refusal.response()
        except ClientDisconnect:
            return Response(status_code=400)  # the client does not read it
        finally:
            self._requests -= 1
        return Response(answer, media_type=MEDIA_TYPE)

    async def _body(self, request: Request) -> bytes:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != MEDIA_TYPE or request.headers.get("content-encoding", "identity") != "identity":
            raise ScoringRefusedError(
                "unsupported_media_type", f"send Content-Type: {MEDIA_TYPE}, without compression"
            )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body_bytes:
            raise self._too_large()
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._body_timeout_s):
                async for part in request.stream():
                    size += len(part)
                    if size > self._max_body_bytes:
                        raise self._too_large()
                    parts.append(part)
        except TimeoutError:
            limit = f"{self._body_timeout_s:g} s"
            raise ScoringRefusedError(
                "request_timeout", f"the body did not arrive within {limit}; send it again"
            ) from None
        return b"".join(parts)

    def _too_large(self) -> ScoringRefusedError:
        return ScoringRefusedError(
            "payload_too_large", f"the body is larger than {self._max_body_bytes} bytes; send one query"
        )

    async def _answer(self, body: bytes) -> bytes:
        try:
            request = read_request(body)
        except SecretKeyError as error:
            raise ScoringRefusedError("secret_key", str(error)) from None
        except ConfigError as error:
            raise ScoringRefusedError("invalid_parameters", str(error)) from None
        except DataError as error:
            raise ScoringRefusedError("invalid_request", str(error)) from None
        if request.model != self._model:
            raise ScoringRefusedError(
                "conflict", "the folder of the client is of another model; export it again from this model"
            )
        rows = self._rows(request)
        async with self._lock:  # the products take all of the processor that Python gives to one thread
            return await asyncio.to_thread(self._scored, request.query, rows)

    def _rows(self, request: ScoringRequest) -> list[int] | None:
        if request.item_ids is None:
            return None
        for item_id in request.item_ids:
            if item_id not in self._row:
                raise ScoringRefusedError(
                    "unknown_items", f"the model has no item {item_id!r}; send ids of its items"
                )
        return [self._row[item_id] for item_id in request.item_ids]

    def _scored(self, query: bytes, rows: list[int] | None) -> bytes:
        blocks: Blocks | None = None if rows is None else self._scorer.encode(np.array(rows))
        try:
            return self._scorer.score(query, blocks)
        except DataError as error:
            raise ScoringRefusedError("invalid_ciphertexts", str(error)) from None


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    return ScoringRefusedError(code, f"use GET {FACTS_PATH} or POST {SCORES_PATH}").response()


async def _internal_error(request: Request, error: Exception) -> Response:
    logging.getLogger(__name__).error("internal error", exc_info=error)
    return ScoringRefusedError("internal", "internal error; the log of the server has the details").response()
