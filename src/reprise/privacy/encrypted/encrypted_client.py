"""The client of encrypted scoring: the state and the key stay here, and a server computes the scores blind."""

import http.client
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from reprise.argument_checks import number
from reprise.arrays import AnyArray, Float64Array
from reprise.errors import ConfigError, DataError
from reprise.privacy.device.device_client import DeviceClient, DeviceRecommendation
from reprise.privacy.encrypted.ciphertext_bytes import ANSWER_BYTES
from reprise.privacy.encrypted.ckks_parameters import CkksParameters, check_parameters
from reprise.privacy.encrypted.query_encryption import BLOCK, QueryEncryption
from reprise.privacy.encrypted.scoring_request import FACTS_PATH, MEDIA_TYPE, SCORES_PATH, write_request

MAX_FACTS_BYTES = 65_536
"""Largest description of a model, or of an error."""


class _ServerFacts(NamedTuple):
    """What a server says about its model."""

    items: int
    width: int
    norm: float


class EncryptedClient:
    """The state of one user, whose scores a server computes without seeing state, query or scores.

    Each question has a new secret key, which stays in the memory of this process. Never send scores or their order back to the
    server: from decrypted numbers and their ciphertext it can compute the key (Li and Micciancio 2021).
    """

    def __init__(self, folder: str | Path, url: str, *, timeout_s: float = 60.0) -> None:
        """Open a folder that `reprise export-device` wrote, best with `--scoring server`. The server is not called yet.

        Args:
            folder: The folder, with the graphs and the input vectors.
            url: Address of `reprise serve-encrypted`, such as `http://127.0.0.1:8010`.
            timeout_s: Time to wait for the server, in seconds.

        Raises:
            ConfigError: TenSEAL is not installed, or the address is not one of HTTP.
            ValueError: the folder cannot be read.
        """
        self._parameters = CkksParameters()
        self._device = DeviceClient(folder)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"the address of the server is {url!r}; pass one such as http://127.0.0.1:8010")
        self._url, self._timeout_s = parts, number("timeout_s", timeout_s)
        self._facts: _ServerFacts | None = None

    @property
    def device(self) -> DeviceClient:
        """The state of the user: its counts of events, and `save` and `restore`."""
        return self._device

    def add(self, event: Any) -> None:
        """Read one more event on this device. See `DeviceClient.add`."""
        self._device.add(event)

    def recommend(
        self, k: int = 10, *, exclude_seen: bool = False, now: float | None = None
    ) -> list[DeviceRecommendation]:
        """Return the items that may come next, best first: the result of `DeviceClient.recommend`.

        The server scores all items. Items seen are left out and the repeat head is applied here, after decryption. Without
        known events nothing is sent, and the items are the most popular ones.

        Raises:
            DataError: the server refuses the question, has another model, or its answer is not one to this question.
            OSError: the server cannot be reached.
            ValueError: an argument is invalid.
        """
        query_D = self._device.query(now)
        if not self._device.has_answer(query_D):
            return self._device.popular(k)
        return self._device.rank(self.scores(query_D), k, exclude_seen=exclude_seen)

    def scores(self, query_D: AnyArray, item_ids: Iterable[Any] | None = None) -> Float64Array:
        """Return the products of a query with the output vectors of all items, or of some.

        Args:
            query_D: Query vector (`DeviceClient.query`).
            item_ids: Public list of candidates, such as a page of a shop: the server reads it. None: all items.

        Raises:
            DataError: see `recommend`.
            OSError: the server cannot be reached.
        """
        ids = None if item_ids is None else list(item_ids)
        facts = self._server_facts()
        if len(query_D) != facts.width:
            raise DataError(
                f"the query has {len(query_D)} numbers, the vectors of the server have {facts.width}"
            )
        encryption = QueryEncryption(self._parameters)
        query = encryption.encrypt(query_D.astype(float) * facts.norm)
        body = write_request(self._device.facts["model"], query, ids)
        items = facts.items if ids is None else len(ids)
        answer = self._call("POST", SCORES_PATH, math.ceil(items / BLOCK) * ANSWER_BYTES, body)
        return encryption.decrypt(answer, items)

    def _server_facts(self) -> _ServerFacts:
        """Return what the server says about its model, asked once."""
        if self._facts is None:
            content = self._call("GET", FACTS_PATH, MAX_FACTS_BYTES)
            try:
                facts = json.loads(content)
                degree, moduli_bits, model = facts["degree"], facts["moduli_bits"], facts["model"]
                found = _ServerFacts(int(facts["items"]), int(facts["width"]), float(facts["norm"]))
            except (ValueError, KeyError, TypeError):
                raise DataError(
                    "the server does not describe its model; is it `reprise serve-encrypted`?"
                ) from None
            check_parameters(degree, moduli_bits)
            if model != self._device.facts["model"] or found.items != len(self._device.ids):
                raise DataError(
                    "the server has another model than the folder; export the folder again from its model"
                )
            if not 0 < found.norm < math.inf:
                raise DataError(
                    f"the server sends the norm {found.norm}, which is not a positive number; it is faulty"
                )
            self._facts = found
        return self._facts

    def _call(self, method: str, path: str, max_bytes: int, body: bytes | None = None) -> bytes:
        """Return the content of a response, of which at most one byte more than `max_bytes` is read."""
        secure = self._url.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(self._url.hostname or "", self._url.port, timeout=self._timeout_s)
        try:
            connection.request(method, self._url.path.rstrip("/") + path, body, {"Content-Type": MEDIA_TYPE})
            response = connection.getresponse()
            content = response.read(max(max_bytes, MAX_FACTS_BYTES) + 1)
        except http.client.HTTPException as error:
            raise ConnectionError(f"the server closed the connection early ({error!r})") from error
        finally:
            connection.close()
        if response.status != 200:
            raise DataError(f"the server refused the question ({response.status}): {_message(content)}")
        return content


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return repr(content[:100])
