"""Encrypted scoring through a real server: the answers of plain scoring, nothing secret on the wire, refusals by name."""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import tenseal
from rich_model import random_history

from reprise.errors import ConfigError, DataError
from reprise.privacy import DeviceClient, EncryptedClient, export_device, serve_encrypted
from reprise.privacy.encrypted.ciphertext_bytes import QUERY_BYTES
from reprise.privacy.encrypted.ckks_parameters import HEADER, CkksParameters, saved
from reprise.privacy.encrypted.query_encryption import QueryEncryption
from reprise.privacy.encrypted.scoring_request import LENGTH, MAX_HEADER_BYTES, write_request
from reprise.recommender import Recommender
from reprise.testing.server_process import free_port

pytestmark = pytest.mark.xdist_group("on_device")

PATH = "/v1/encrypted/scores"


class Server(NamedTuple):
    url: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    client_folder: Path

    def post(self, body: bytes, path: str = PATH, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/octet-stream", **headers})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return response.status, json.loads(content) if response.status != 200 else content


@pytest.fixture(scope="module")
def server(uncounted: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server process, and a folder for its clients."""
    root = tmp_path_factory.mktemp("encrypted")
    uncounted.save(root / "model")
    export_device(root / "model", root / "client", scoring="server")
    port, log = free_port(), root / "log"
    command = [sys.executable, "-m", "reprise", "serve-encrypted", str(root / "model"), "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    found = Server(f"http://127.0.0.1:{port}", port, log, process, root / "client")
    until_s = time.monotonic() + 120
    while "serving" not in log.read_text():
        assert process.poll() is None and time.monotonic() < until_s, log.read_text()
        time.sleep(0.02)
    yield found
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def parameters() -> CkksParameters:
    return CkksParameters()


@pytest.fixture(scope="module")
def query(parameters: CkksParameters, uncounted: Recommender) -> bytes:
    return QueryEncryption(parameters).encrypt(np.ones(uncounted.artefact.output_ID.shape[1]))


@pytest.fixture(scope="module")
def model(server: Server) -> str:
    return str(DeviceClient(server.client_folder).facts["model"])


@pytest.mark.parametrize("seed", range(4))
def test_scores_and_the_best_items_are_those_of_plain_scoring(
    server: Server, uncounted: Recommender, seed: int
) -> None:
    history = random_history(seed, 12)
    client = EncryptedClient(server.client_folder, server.url)
    for event in history:
        client.add(event)
    query_D = client.device.query()
    exact_I = uncounted.artefact.output_ID.astype(float) @ query_D.astype(float)
    score_I = client.scores(query_D)
    assert np.abs(score_I - exact_I).max() <= 1e-6
    assert np.abs(score_I - exact_I).max() > 1e-12  # they were encrypted
    for exclude_seen in (False, True):
        found = client.recommend(10, exclude_seen=exclude_seen)
        expected = uncounted.recommend(history, 10, exclude_seen=exclude_seen)
        assert [one.item_id for one in found] == expected.item_ids
        assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-5)


def test_a_public_list_of_candidates_can_be_scored(server: Server, uncounted: Recommender) -> None:
    client = EncryptedClient(server.client_folder, server.url)
    client.add("p3")
    query_D = client.device.query()
    candidates = ["p17", "p2", "p5"]
    rows = [uncounted.items.index(item_id) - 1 for item_id in candidates]
    expected = uncounted.artefact.output_ID[rows].astype(float) @ query_D.astype(float)
    assert client.scores(query_D, candidates) == pytest.approx(expected, abs=1e-6)


def test_without_known_events_nothing_is_sent(server: Server, uncounted: Recommender) -> None:
    client = EncryptedClient(server.client_folder, f"http://127.0.0.1:{free_port()}")
    assert [one.item_id for one in client.recommend(5)] == uncounted.recommend([], 5).item_ids
    client.add("p1")
    with pytest.raises(ConnectionRefusedError):
        client.recommend(5)


def parts(data: bytes) -> list[bytes]:
    """Return pieces of data, each long enough not to occur elsewhere by chance."""
    return [data[start : start + 32] for start in range(0, len(data) - 32, 8192)]


def test_no_part_of_a_secret_key_is_on_the_wire(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = EncryptedClient(server.client_folder, server.url)
    client.add("p1")
    keys: list[Any] = []
    sent: list[bytes] = []
    seal = client._parameters.seal

    def key_generator(context: Any) -> Any:
        key = seal.KeyGenerator(context).secret_key()
        keys.append(key)
        return SimpleNamespace(secret_key=lambda: key)

    send = http.client.HTTPConnection.send

    def recorded(connection: http.client.HTTPConnection, data: Any) -> None:
        sent.append(bytes(data))
        send(connection, data)

    monkeypatch.setattr(
        client._parameters, "seal", SimpleNamespace(**{**vars(seal), "KeyGenerator": key_generator})
    )
    monkeypatch.setattr(http.client.HTTPConnection, "send", recorded)
    for _ in range(2):
        client.recommend(5)
    wire = b"".join(sent)
    assert len(keys) == 2 and len(wire) > 2 * 16 * QUERY_BYTES
    for stream in saved(keys):
        plain = pa.CompressedInputStream(pa.BufferReader(stream[HEADER.size :]), "zstd").read()
        assert len(plain) > 3 * 8 * 8192
        secret = parts(plain) + parts(stream)
        assert not [part for part in secret if part in wire]
        assert [part for part in secret if part in wire + plain]  # the search would find it
    bodies = [data for data in sent if len(data) > QUERY_BYTES]
    assert len(bodies) == 2 and len(bodies[0]) == len(bodies[1])
    head = len(bodies[0]) - 16 * QUERY_BYTES
    same = np.frombuffer(bodies[0][head:], np.uint8) == np.frombuffer(bodies[1][head:], np.uint8)
    assert same.mean() == pytest.approx(
        1 / 256, abs=0.01
    )  # the same query, and ciphertexts without a resemblance


def context(**options: Any) -> bytes:
    made = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60])
    return bytes(made.serialize(save_galois_keys=False, save_relin_keys=False, **options))


def with_fields(model: str, query: bytes, **fields: Any) -> bytes:
    body = write_request(model, query)
    (length,) = LENGTH.unpack(body[: LENGTH.size])
    header = {**json.loads(body[LENGTH.size : LENGTH.size + length]), **fields}
    text = json.dumps(header).encode()
    return LENGTH.pack(len(text)) + text + query


BAD_BODIES: dict[str, tuple[Callable[[str, bytes], bytes], int, str, str]] = {
    "nothing": (lambda model, query: b"", 400, "invalid_request", "the body is truncated: it has 0 bytes"),
    "half a header": (
        lambda model, query: write_request(model, query)[:30], 400, "invalid_request", "announce a header of",
    ),
    "a header that is not JSON": (
        lambda model, query: LENGTH.pack(3) + b"{a}" + query, 400, "invalid_request", "is not JSON",
    ),
    "an unknown field": (
        lambda model, query: with_fields(model, query, k=10), 400, "invalid_request", "is not an object with degree",
    ),
    "the same candidate twice": (
        lambda model, query: with_fields(model, query, items=["p1", "p1"]), 400, "invalid_request", "different ids",
    ),
    "weak parameters": (
        lambda model, query: with_fields(model, query, degree=4096, moduli_bits=[60, 40, 60]),
        422, "invalid_parameters", "less than 128 bits of security: N = 4096 allows 109 bits, got 160",
    ),
    "parameters that round too much": (
        lambda model, query: with_fields(model, query, degree=4096, moduli_bits=[40, 20, 40]),
        422, "invalid_parameters", "use N = 8192 with [60, 40, 60]",
    ),
    "parameters of another type": (
        lambda model, query: with_fields(model, query, degree="8192"), 422, "invalid_parameters", "degree is a whole number",
    ),
    "another model": (lambda model, query: write_request("0", query), 409, "conflict", "is of another model"),
    "an unknown item": (
        lambda model, query: write_request(model, query, ["p1", "nothing"]), 422, "unknown_items", "no item 'nothing'",
    ),
    "a truncated ciphertext": (
        lambda model, query: write_request(model, query[:-1]), 422, "invalid_ciphertexts", "are truncated",
    ),
    "no ciphertext": (lambda model, query: write_request(model, b""), 422, "invalid_ciphertexts", "are truncated"),
    "one ciphertext too many": (
        lambda model, query: write_request(model, query + query[-QUERY_BYTES:]), 422, "invalid_ciphertexts", "are too long",
    ),
    "ciphertexts of other parameters": (
        lambda model, query: write_request(model, bytes([query[0] ^ 1]) + query[1:]),
        422, "invalid_ciphertexts", "have other CKKS parameters",
    ),
    "a coefficient above its prime": (
        lambda model, query: write_request(model, query[:200] + b"\xff" * 16 + query[216:]),
        422, "invalid_ciphertexts", "ciphertext 0 has a coefficient that is not below its prime",
    ),
    "a context with a secret key": (
        lambda model, query: context(save_secret_key=True), 422, "secret_key", "may hold a secret key, and it was not read",
    ),
    "a context without a secret key": (
        lambda model, query: context(save_secret_key=False), 422, "secret_key", "may hold a secret key",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_refused_by_name_and_the_server_continues(
    server: Server, model: str, query: bytes, name: str
) -> None:
    body, status, code, message = BAD_BODIES[name]
    found, answer = server.post(body(model, query))
    assert (found, answer["error"]["code"]) == (status, code)
    assert message in answer["error"]["message"]
    assert server.post(write_request(model, query))[0] == 200


def test_random_coefficients_and_seeds_do_not_stop_the_server(
    server: Server, model: str, query: bytes
) -> None:
    """A server cannot distinguish random numbers in range from ciphertexts; the scores are then random."""
    generator = np.random.default_rng(0)
    noise = bytearray(query)
    head = len(query) - 16 * QUERY_BYTES
    for start in range(head, len(query), QUERY_BYTES):
        noise[start : start + 8 * 8192] = generator.integers(2**59, size=8192, dtype=np.uint64).tobytes()
        noise[start + QUERY_BYTES - 64 : start + QUERY_BYTES] = generator.bytes(64)
    status, answer = server.post(write_request(model, bytes(noise)))
    assert (status, len(answer)) == (200, 131_072)


def test_requests_outside_the_protocol_are_refused(server: Server, model: str, query: bytes) -> None:
    body = write_request(model, query)
    assert server.post(body, **{"Content-Type": "text/plain"})[0] == 415
    assert server.post(body, **{"Content-Encoding": "gzip"})[0] == 415
    assert server.post(body, "/v1/recommend")[0] == 404
    assert server.post(body, "/v1/encrypted")[0] == 405
    status, answer = server.post(b"", **{"Content-Length": str(2 * MAX_HEADER_BYTES + len(query))})
    assert (status, answer["error"]["code"]) == (413, "payload_too_large")
    assert server.post(body)[0] == 200


def test_a_client_of_another_model_is_refused_before_it_sends_a_query(server: Server) -> None:
    client = EncryptedClient(server.client_folder, server.url)
    client.add("p1")
    client.device.facts["model"] = "another"
    with pytest.raises(
        DataError, match="the server has another model than the folder; export the folder again"
    ):
        client.recommend(5)


def test_the_server_logs_no_request(server: Server) -> None:
    lines = server.log.read_text().splitlines()
    assert lines == [f"serving encrypted scores of 20 items of width 16 at {server.url}"]


def test_a_port_in_use_and_an_address_that_is_not_http_are_refused(server: Server) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on port {server.port} of 127.0.0.1"):
        serve_encrypted(server.client_folder, port=server.port)
    with pytest.raises(ConfigError, match=r"the address of the server is 'shop\.example'"):
        EncryptedClient(server.client_folder, "shop.example")


def test_the_server_ends_with_sigterm(server: Server) -> None:
    """The last test of the server."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) in (0, 128 + signal.SIGTERM)
    assert "Traceback" not in server.log.read_text()
