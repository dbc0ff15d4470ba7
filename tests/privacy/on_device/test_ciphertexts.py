"""Ciphertexts, their parameters and the application, without a server process."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from reprise.errors import ConfigError, DataError
from reprise.privacy import BlindScorer
from reprise.privacy.encrypted.ciphertext_bytes import ANSWER_BYTES, QUERY_BYTES
from reprise.privacy.encrypted.ckks_parameters import (
    DEGREE,
    MAX_MODULUS_BITS,
    MODULI_BITS,
    CkksParameters,
    check_parameters,
)
from reprise.privacy.encrypted.query_encryption import QueryEncryption
from reprise.privacy.encrypted.scoring_app import MAX_REQUESTS, ScoringApp
from reprise.privacy.encrypted.scoring_request import write_request

WIDTH = 3


@pytest.fixture(scope="module")
def parameters() -> CkksParameters:
    return CkksParameters()


def vectors(items: int, norm: float = 1.0, width: int = WIDTH) -> np.ndarray:
    directions = np.random.default_rng(items).normal(size=(items, width))
    return (norm * directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)


def encrypted_scores(parameters: CkksParameters, vectors_ID: np.ndarray, query_D: np.ndarray) -> np.ndarray:
    scorer, encryption = BlindScorer(vectors_ID, parameters), QueryEncryption(parameters)
    answer = scorer.score(encryption.encrypt(query_D * scorer.norm))
    assert len(answer) == -(-len(vectors_ID) // 8192) * ANSWER_BYTES
    return encryption.decrypt(answer, len(vectors_ID))


@pytest.mark.parametrize("items", [1, 4097, 8192, 8193])
def test_the_scores_of_blocks_of_all_lengths_are_products(parameters: CkksParameters, items: int) -> None:
    query_D = np.array([0.5, -2.0, 1.0])
    exact_I = vectors(items).astype(float) @ query_D
    assert np.abs(encrypted_scores(parameters, vectors(items), query_D) - exact_I).max() <= 1e-7


@pytest.mark.parametrize(("query_norm", "vector_norm"), [(1 / 0.07, 1.0), (1.0, 1 / 0.07), (1.0, 1000.0)])
def test_the_error_does_not_grow_with_the_norm_of_the_vectors(
    parameters: CkksParameters, query_norm: float, vector_norm: float
) -> None:
    """Cosines at a temperature of 0.07 are scores up to 14.3; the factor may be on either side."""
    vectors_ID, query_D = vectors(500, vector_norm, 16), vectors(7, query_norm, 16)[0].astype(float)
    exact_I = vectors_ID.astype(float) @ query_D
    assert np.abs(exact_I).max() > 0.5 * query_norm * vector_norm
    assert np.abs(encrypted_scores(parameters, vectors_ID, query_D) - exact_I).max() <= 2e-7


def test_vectors_that_are_zero_have_scores_of_zero(parameters: CkksParameters) -> None:
    """SEAL refuses products with zero."""
    vectors_ID = np.zeros((9, WIDTH), dtype=np.float32)
    query_D = np.array([1.0, 2.0, 3.0])
    assert encrypted_scores(parameters, vectors_ID, query_D).tolist() == [0.0] * 9
    vectors_ID[4, 1] = 0.5
    assert encrypted_scores(parameters, vectors_ID, query_D) == pytest.approx(
        [0, 0, 0, 0, 1, 0, 0, 0, 0], abs=1e-7
    )


def test_the_answer_for_another_key_a_changed_one_and_a_cut_one_are_refused(
    parameters: CkksParameters,
) -> None:
    scorer, encryption, other = (
        BlindScorer(vectors(10), parameters),
        QueryEncryption(parameters),
        QueryEncryption(parameters),
    )
    query_D = np.array([1.0, 2.0, 3.0])
    answer = scorer.score(encryption.encrypt(query_D * scorer.norm))
    other.encrypt(query_D)
    with pytest.raises(
        DataError,
        match="the answer does not decrypt to scores of this query: it was computed for another key",
    ):
        other.decrypt(answer, 10)
    with pytest.raises(DataError, match="does not decrypt to scores of this query"):
        encryption.decrypt(answer[:8] + bytes(800) + answer[808:], 10)
    with pytest.raises(DataError, match=f"the answer has {ANSWER_BYTES - 1} bytes instead of {ANSWER_BYTES}"):
        encryption.decrypt(answer[:-1], 10)
    with pytest.raises(
        DataError, match="block 0 of the answer has a coefficient that is not below its prime"
    ):
        encryption.decrypt(b"\xff" * ANSWER_BYTES, 10)
    assert encryption.decrypt(answer, 10) == pytest.approx(vectors(10).astype(float) @ query_D, abs=1e-7)


@pytest.mark.parametrize("bad", [[1.0, np.nan, 0.0], [np.inf, 0.0, 0.0], [1e6, 0.0, 0.0]])
def test_a_query_that_cannot_be_encrypted_is_refused(parameters: CkksParameters, bad: list[float]) -> None:
    with pytest.raises(
        DataError,
        match=r"the query has the norm (nan|inf|1e.06), and the largest one that can be encrypted is 131072",
    ):
        QueryEncryption(parameters).encrypt(np.array(bad))


def test_the_parameters_are_within_the_table_of_the_standard(parameters: CkksParameters) -> None:
    seal = parameters.seal
    level = seal.SEC_LEVEL_TYPE.TC128
    assert {
        degree: seal.CoeffModulus.MaxBitCount(degree, level) for degree in MAX_MODULUS_BITS
    } == MAX_MODULUS_BITS
    assert tuple(prime.bit_length() for prime in parameters.primes) == MODULI_BITS
    assert sum(MODULI_BITS) == 160 < MAX_MODULUS_BITS[DEGREE]


def test_other_parameters_are_refused_and_weak_ones_are_called_weak() -> None:
    check_parameters(8192, [60, 40, 60])
    with pytest.raises(
        ConfigError, match=r"less than 128 bits of security: N = 8192 allows 218 bits, got 220; use N = 8192"
    ):
        check_parameters(8192, [60, 50, 50, 60])
    with pytest.raises(
        ConfigError,
        match=r"^the CKKS parameters are N = 16384 with primes of \[60, 40, 60\] bits; use N = 8192",
    ):
        check_parameters(16384, [60, 40, 60])
    with pytest.raises(ConfigError, match="less than 128 bits of security: N = 100 allows 0 bits"):
        check_parameters(100, [60, 40, 60])


def test_without_tenseal_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)
    with pytest.raises(
        ConfigError,
        match=r"encrypted scoring needs TenSEAL .*; install it: pip install 'reprise\[encrypted\]'$",
    ):
        BlindScorer(vectors(3))


def test_the_names_of_the_package_load_neither_tenseal_nor_torch() -> None:
    code = (
        "import sys, reprise.privacy as p; "
        "[p.DeviceClient, p.export_device, p.BlindScorer, p.EncryptedClient, p.serve_encrypted]; "
        "print([name for name in ('tenseal', 'torch') if name in sys.modules], 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"


async def ask(app: ScoringApp, body: bytes | None, requests: int = 1) -> list[tuple[int, Any]]:
    """Send requests together, and return their answers. None: the body never arrives."""
    application = app.application()

    async def one() -> tuple[int, Any]:
        waiting = [{"type": "http.request", "body": body, "more_body": False}] if body is not None else []
        sent: list[Any] = []

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            return await asyncio.sleep(3600)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/v1/encrypted/scores", "query_string": b"", "root_path": "",
            "headers": [(b"content-type", b"application/octet-stream")],
        }  # fmt: skip
        await application(scope, receive, send)
        content = sent[1]["body"]
        return sent[0]["status"], content if sent[0]["status"] == 200 else json.loads(content)["error"]

    return list(await asyncio.gather(*(one() for _ in range(requests))))


def test_a_body_that_does_not_arrive_is_given_up(parameters: CkksParameters) -> None:
    app = ScoringApp(BlindScorer(vectors(4), parameters), list("abcd"), "m", body_timeout_s=0.05)
    ((status, error),) = asyncio.run(ask(app, None))
    assert (status, error["code"]) == (408, "request_timeout")
    assert "the body did not arrive within 0.05 s" in error["message"]


def test_more_requests_than_the_limit_are_refused_and_the_others_are_answered(
    parameters: CkksParameters,
) -> None:
    app = ScoringApp(BlindScorer(vectors(4), parameters), list("abcd"), "m")
    body = write_request("m", QueryEncryption(parameters).encrypt(np.ones(WIDTH)))
    assert len(body) > WIDTH * QUERY_BYTES

    async def twice() -> tuple[list[tuple[int, Any]], list[tuple[int, Any]]]:
        return await ask(app, body, MAX_REQUESTS + 2), await ask(app, body)

    first, later = asyncio.run(twice())
    assert sorted(status for status, _ in first) == [200] * MAX_REQUESTS + [503] * 2
    assert {error["code"] for status, error in first if status == 503} == {"overloaded"}
    assert [status for status, _ in later] == [200]
