"""Encrypted scoring: processor time, bytes and error, against other ways with TenSEAL and against vectors on the device.

    OMP_NUM_THREADS=1 python benchmarks/encrypted_scoring.py [--items 1000 10000 100000] [--widths 64 128] [--rounds 5]
        [--compare 10000] [--model MODEL] [--out FILE]

Queries and vectors are random directions; scores are cosines divided by 0.07, as those of a trained network. Medians of
processor seconds on one thread; the settings alternate in each round. "client" is a new key and the encryption, "server"
reads the ciphertexts and computes the scores. "error" is the largest difference to products in float64, "float32" that of
plain products in float32. "kept" says in how many rounds the ten best items and their order are those of plain products.

`--compare` runs two other ways at one size: `CKKSVector` of TenSEAL with a public key, one ciphertext for each number and
blocks of 4,096 items, and one ciphertext for the whole query with products of matrices of 1,024 items. `--model` exports a
saved model for devices, and prints its files and the processor time of an event and of an answer. Prints JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reprise.privacy import BlindScorer, DeviceClient, export_device
from reprise.privacy.encrypted.ckks_parameters import DEGREE, MODULI_BITS, SCALE, CkksParameters
from reprise.privacy.encrypted.query_encryption import QueryEncryption

TEMPERATURE = 0.07
PLAIN_BLOCK, MATRIX_BLOCK = DEGREE // 2, 1024


def directions(generator: np.random.Generator, rows: int, width: int) -> np.ndarray:
    x_ND = generator.standard_normal((rows, width), dtype=np.float32)
    return x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start_s = time.process_time()
    result = call()
    return time.process_time() - start_s, result


class Ours:
    """Encrypted scoring of this package."""

    def __init__(self, vectors_ID: np.ndarray, parameters: CkksParameters) -> None:
        self.items, self.parameters = len(vectors_ID), parameters
        self.encode_s, self.scorer = timed(lambda: BlindScorer(vectors_ID, parameters))

    def round(self, query_D: np.ndarray) -> dict[str, Any]:
        def encrypt() -> tuple[QueryEncryption, bytes]:
            encryption = QueryEncryption(self.parameters)
            return encryption, encryption.encrypt(query_D.astype(float) * self.scorer.norm)

        client_s, (encryption, query) = timed(encrypt)
        server_s, answer = timed(lambda: self.scorer.score(query))
        decrypt_s, scores = timed(lambda: encryption.decrypt(answer, self.items))
        times = {"client s": client_s, "server s": server_s, "decrypt s": decrypt_s}
        return {**times, "up": len(query), "down": len(answer), "scores": scores}


class TensealVectors:
    """One CKKSVector for each number of the query, with a public key; the vectors are encoded for each question."""

    def __init__(self, vectors_ID: np.ndarray) -> None:
        import tenseal

        self.tenseal, self.vectors_ID = tenseal, vectors_ID.astype(float)
        self.context = tenseal.context(
            tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=[*MODULI_BITS], n_threads=1
        )
        self.context.global_scale = SCALE

    def encrypt(self, query_D: np.ndarray) -> list[bytes]:
        vector = self.tenseal.ckks_vector
        return [vector(self.context, [float(number)] * PLAIN_BLOCK).serialize() for number in query_D]

    def score(self, query: list[bytes]) -> list[bytes]:
        query_D = [self.tenseal.ckks_vector_from(self.context, data) for data in query]
        answers = []
        for start in range(0, len(self.vectors_ID), PLAIN_BLOCK):
            block = np.zeros((len(query_D), PLAIN_BLOCK))
            part = self.vectors_ID[start : start + PLAIN_BLOCK]
            block[:, : len(part)] = part.T
            products = [number * row.tolist() for number, row in zip(query_D, block, strict=True)]
            answers.append(sum(products[1:], products[0]).serialize())
        return answers

    def decrypt(self, answer: list[bytes]) -> np.ndarray:
        parts = [self.tenseal.ckks_vector_from(self.context, data).decrypt() for data in answer]
        return np.concatenate(parts)[: len(self.vectors_ID)]

    def round(self, query_D: np.ndarray) -> dict[str, Any]:
        client_s, query = timed(lambda: self.encrypt(query_D))
        server_s, answer = timed(lambda: self.score(query))
        decrypt_s, scores = timed(lambda: self.decrypt(answer))
        times = {"client s": client_s, "server s": server_s, "decrypt s": decrypt_s}
        return {**times, "up": sum(map(len, query)), "down": sum(map(len, answer)), "scores": scores}


class TensealMatrix(TensealVectors):
    """One ciphertext for the whole query, and products with matrices, which need Galois keys."""

    def __init__(self, vectors_ID: np.ndarray) -> None:
        super().__init__(vectors_ID)
        self.context.generate_galois_keys()
        self.keys = len(self.context.serialize(save_secret_key=False, save_relin_keys=False))

    def encrypt(self, query_D: np.ndarray) -> list[bytes]:
        return [self.tenseal.ckks_vector(self.context, query_D.astype(float).tolist()).serialize()]

    def score(self, query: list[bytes]) -> list[bytes]:
        vector = self.tenseal.ckks_vector_from(self.context, query[0])
        starts = range(0, len(self.vectors_ID), MATRIX_BLOCK)
        blocks = [self.vectors_ID[start : start + MATRIX_BLOCK].T.tolist() for start in starts]
        return [vector.mm(block).serialize() for block in blocks]


def row_of(rounds: list[dict[str, Any]], exact: list[np.ndarray], plain: list[np.ndarray]) -> dict[str, Any]:
    """Return medians of the times, the sizes, the errors, and the rounds with the same ten best items."""
    row = {
        name: round(float(np.median([one[name] for one in rounds])), 4)
        for name in ("client s", "server s", "decrypt s")
    }
    errors = [np.abs(one["scores"] - products).max() for one, products in zip(rounds, exact, strict=True)]
    single = [np.abs(mine - products).max() for mine, products in zip(plain, exact, strict=True)]
    best = [
        np.array_equal(np.argsort(-one["scores"])[:10], np.argsort(-mine, kind="stable")[:10])
        for one, mine in zip(rounds, plain, strict=True)
    ]
    sizes = {"up": rounds[0]["up"], "down": rounds[0]["down"]}
    found = {
        "error": f"{max(errors):.1e}",
        "float32": f"{max(single):.1e}",
        "kept": f"{sum(best)} of {len(best)}",
    }
    return {**row, **sizes, **found}


def measure(ways: dict[str, tuple[Any, np.ndarray]], rounds: int) -> dict[str, dict[str, Any]]:
    """Run the ways in turn, in each round with another query."""
    generator = np.random.default_rng(1)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    exact: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    plain: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (way, vectors_ID) in ways.items():
            query_D = directions(generator, 1, vectors_ID.shape[1])[0] / np.float32(TEMPERATURE)
            results[name].append(way.round(query_D))
            exact[name].append(vectors_ID.astype(float) @ query_D.astype(float))
            plain[name].append(vectors_ID @ query_D)
    return {name: row_of(results[name], exact[name], plain[name]) for name in ways}


def device_facts(model: Path) -> dict[str, Any]:
    """Export a model for devices, and time its client."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = {
            precision: dict(export_device(model, Path(folder) / precision, precision=precision).file_bytes)
            for precision in ("float32", "float16")
        }
        client = DeviceClient(Path(folder) / "float32")
        ids = client.ids[:200]
        client.add(ids[0])
        event_s, _ = timed(lambda: [client.add(item_id) for item_id in ids])
        answer_s, _ = timed(lambda: [client.recommend(10) for _ in range(50)])
    times = {"event ms": 1000 * event_s / len(ids), "answer ms": 1000 * answer_s / 50}
    totals = {precision: sum(files.values()) for precision, files in sizes.items()}
    return {
        "items": len(client.ids),
        "bytes": totals,
        "files": sizes,
        **{k: round(v, 3) for k, v in times.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compare", type=int, metavar="ITEMS", help="also run the other ways at this size")
    parser.add_argument("--model", type=Path, help="also export this model for devices")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    options = parser.parse_args()
    generator, parameters = np.random.default_rng(0), CkksParameters()
    found: dict[str, Any] = {"scoring": [], "ways": [], "once": []}
    for width in options.widths:
        ways: dict[str, tuple[Any, np.ndarray]] = {}
        for items in options.items:
            vectors_ID = directions(generator, items, width)
            ours = Ours(vectors_ID, parameters)
            ways[str(items)] = ours, vectors_ID
        rows = measure(ways, options.rounds)
        for items in options.items:
            row = {
                "items": items,
                "width": width,
                "encode s": round(ways[str(items)][0].encode_s, 3),
                **rows[str(items)],
            }
            found["scoring"].append(row)
            up_and_down = row["up"] + row["down"]
            for precision, size in (("float32", 4), ("float16", 2)):
                vectors = items * width * size
                questions = round(vectors / up_and_down, 1)
                once = {"items": items, "width": width, "precision": precision, "vectors": vectors}
                found["once"].append({**once, "questions for the same bytes": questions})
        if options.compare:
            vectors_ID = directions(generator, options.compare, width)
            others: dict[str, tuple[Any, np.ndarray]] = {
                "ours": (Ours(vectors_ID, parameters), vectors_ID),
                "vectors": (TensealVectors(vectors_ID), vectors_ID),
                "matrix": (matrix := TensealMatrix(vectors_ID), vectors_ID),
            }
            rows = measure(others, options.rounds)
            keys = {"matrix": {"keys once": matrix.keys}}
            found["ways"] += [
                {"way": name, "items": options.compare, "width": width, **row, **keys.get(name, {})}
                for name, row in rows.items()
            ]
    if options.model is not None:
        found["device"] = device_facts(options.model)
    text = json.dumps(found, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
