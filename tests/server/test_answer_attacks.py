"""Attacks by answers against a real server: they succeed with a key without limits, and fail with a limited key."""

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from server_thread import server_thread

from reprise.arrays import AnyArray
from reprise.models.networks.recurrent import Recurrent
from reprise.privacy.answer_attacks import added_item_scores, evidence, vector_r2
from reprise.recommender import Recommender
from reprise.server.http.answer_limits import NO_LIMITS, AnswerLimits
from reprise.server.http.app import Authenticator
from reprise.server.http.auth import add_key, read_keys
from reprise.server.token_buckets import TokenBuckets
from reprise.testing.worlds import world

ITEMS, WIDTH, HISTORY = 900, 16, 80
QUESTIONS = 90
MAX_K = 5
LIMITED = AnswerLimits(scores="ranks", max_k=MAX_K, requests_per_minute=60)


@dataclass
class Client:
    """A client with an API key, which asks questions until the server refuses one."""

    connection: http.client.HTTPConnection
    secret: str
    k: int
    ids: dict[str, int]
    """Position of the vector of each item."""

    def ask(self, history: Sequence[int]) -> AnyArray | None:
        """Return the evidence of the answer to a history; None if the server refuses the question."""
        body = {"events": [{"item_id": f"p{item}"} for item in history], "k": self.k, "exclude_seen": True}
        headers = {"Content-Type": "application/json", "X-API-Key": self.secret}
        while True:
            self.connection.request("POST", "/v1/recommend", json.dumps(body), headers)
            response = self.connection.getresponse()
            answer = json.loads(response.read())
            if response.status == 200:
                return evidence(answer["items"], self.ids)
            assert response.status == 429, answer
            assert int(response.headers["Retry-After"]) >= 1
            if answer["error"]["code"] == "over_budget":
                return None
            time.sleep(0.1)  # the test machine is overloaded


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose state forgets 3 % of the past with each event, as the state of a trained network does."""
    path = tmp_path_factory.mktemp("attacked") / "shop.model"
    generator = np.random.default_rng(0)
    log = world([[f"p{item}" for item in generator.permutation(ITEMS)] for _ in range(2)])
    torch.manual_seed(0)
    spec = Recurrent(
        size=WIDTH,
        layers=1,
        residual=False,
        temperature=0.07,
        attention=0,
        cooccurrence=0,
        repeats=0,
        dropout=0.0,
    )
    network = spec.build(log.sizes)
    with torch.no_grad():
        cell = network.encoder.cells[0]
        cell.gates.weight.zero_()
        cell.gates.bias.fill_(20.0)  # both gates are open
        decay = torch.tensor(-np.log(0.97) / cell.SCALE)
        cell.decay.fill_(float(decay.expm1().log()))  # the inverse of softplus
    Recommender(network.eval(), log).save(path)
    return path


@contextmanager
def attacker(model: Path, folder: Path, limits: AnswerLimits, k: int) -> Iterator[Client]:
    """A client with a key that has these limits, of a server of its own."""
    secret = add_key(folder / "keys.toml", "attacker", "shop", ["recommend"], limits)
    # the clock does not move, so the attack lasts less than a minute on a slow machine too
    authenticator = Authenticator(read_keys(folder / "keys.toml"), budgets=TokenBuckets(clock=lambda: 0.0))
    with server_thread(model, folder / "events.db", authenticator) as address:
        ids = address.engine.model.items.ranker("shop").catalogue.ids
        with closing(http.client.HTTPConnection("127.0.0.1", address.port, timeout=30)) as connection:
            yield Client(connection, secret, k, {str(one): place for place, one in enumerate(ids)})


def attack_history(client: Client, targets: int) -> float:
    """Return the share of targets whose added item is among the attacker's first ten guesses."""
    generator = np.random.default_rng(1)
    histories = [generator.choice(ITEMS, HISTORY, replace=False).tolist() for _ in range(targets)]
    pairs = [(client.ask(history[:-1]), client.ask(history)) for history in histories]
    single: dict[int, AnyArray] = {}
    for item in generator.permutation(ITEMS).tolist():
        answer = client.ask([item])
        if answer is None:
            break
        single[item] = answer
    hits = 0
    for (before_I, after_I), history in zip(pairs, histories, strict=True):
        assert before_I is not None and after_I is not None
        scores_C = added_item_scores(before_I, after_I, np.stack([*single.values()]))
        hits += history[-1] in np.array([*single])[np.argsort(-scores_C)[:10]]
    return hits / targets


def attack_vectors(client: Client, model: Path, questions: int) -> float:
    """Return the share of the variance of the item vectors that the answers explain."""
    generator = np.random.default_rng(2)
    answers = [client.ask(generator.choice(ITEMS, 6, replace=False).tolist()) for _ in range(questions)]
    evidence_QI = np.stack([answer for answer in answers if answer is not None])
    return vector_r2(evidence_QI, Recommender.load(model).artefact.output_ID)


def test_an_added_item_is_found_by_a_key_without_limits(model: Path, tmp_path: Path) -> None:
    with attacker(model, tmp_path, NO_LIMITS, ITEMS) as client:
        assert attack_history(client, 8) >= 0.3


def test_an_added_item_is_hardly_found_in_a_minute_by_a_limited_key(model: Path, tmp_path: Path) -> None:
    with attacker(model, tmp_path, LIMITED, MAX_K) as client:
        # half of the requests of the minute ask for the answers, half for histories of one item
        assert attack_history(client, 15) <= 0.1


def test_item_vectors_are_found_by_a_key_without_limits(model: Path, tmp_path: Path) -> None:
    with attacker(model, tmp_path, NO_LIMITS, ITEMS) as client:
        assert attack_vectors(client, model, QUESTIONS) >= 0.7


def test_item_vectors_are_hardly_found_in_a_minute_by_a_limited_key(model: Path, tmp_path: Path) -> None:
    with attacker(model, tmp_path, LIMITED, MAX_K) as client:
        assert attack_vectors(client, model, QUESTIONS) <= 0.05
