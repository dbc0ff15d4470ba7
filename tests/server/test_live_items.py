"""A new item put to a running server: in the next answer, read in histories, kept over a restart, and deleted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reprise.models.items.content_embeddings import ItemContent
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.recommender.artefact.artefact import CONTENT_MAP
from reprise.recommender.artefact.reading import read
from reprise.server.engine.event_encoding import is_known
from reprise.server.engine.item_overrides import ItemOverrides
from reprise.server.store.records import ItemChange
from reprise.testing.server_process import ServerProcess
from reprise.testing.worlds import families
from reprise.training import RunOptions, TrainingConfig, train

HISTORY = [{"item_id": item} for item in ("0-0", "1-1", "2-0")]
"""Items of group 3 follow; their titles have the word scarf."""


@pytest.fixture(scope="module")
def content_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that reads titles. Any item of group g + 1 follows any item of group g."""
    folder, data = tmp_path_factory.mktemp("content"), families()
    spec = Recurrent(size=24, layers=1, dropout=0.0, item_dropout=0.0, content=ItemContent(id_dropout=0.3))
    training = TrainingConfig(epochs=8, events_per_batch=256, learning_rate=0.01, refit=0)
    network = train(spec, data, folder / "run", training=training, options=RunOptions(threads=1))
    Recommender(network, data).save(folder / "shop.model")
    return folder / "shop.model"


def ids(server: ServerProcess, events: list[dict[str, Any]], **options: Any) -> list[str]:
    reply = server.request("POST", "/v1/recommend", {"events": events, "k": 40, **options})
    assert reply.status == 200, reply
    return [one["item_id"] for one in reply.body["items"]]


def test_a_new_item_is_served_kept_and_deleted(content_model: Path, tmp_path: Path) -> None:
    store, log = f"sqlite:///{tmp_path}/events.db", tmp_path / "log"
    title = {"title": "scarf no 17"}
    with ServerProcess(content_model, store, log) as server:
        server.wait_ready()
        assert "new" not in ids(server, HISTORY)
        refused = server.request("PUT", "/v1/items/new", {"columns": {"title": 7}})
        assert refused.status == 422 and "'title'" in refused.body["error"]["message"]
        undescribed = server.request("PUT", "/v1/items/new", {"price": 3})
        assert undescribed.body == {"item_id": "new", "recommendable": False}
        assert server.request("PUT", "/v1/items/new", title).body == {"item_id": "new", "recommendable": True}
        first = ids(server, HISTORY)
        assert "new" in first[:8], "it is a scarf, and scarves follow"
        after = ids(server, [*HISTORY, {"item_id": "new"}])
        assert after[0].startswith("4-"), "the item was read as a scarf"
        assert server.stop() == 0
    with ServerProcess(content_model, store, log) as server:
        server.wait_ready()
        assert ids(server, HISTORY) == first
        asked = {"events": HISTORY, "allow": ["new"], "explain": True}
        (explained,) = server.request("POST", "/v1/recommend", asked).body["items"]
        ((name, value, amount),) = (tuple(one.values()) for one in explained["columns"])
        assert (name, value) == ("title", "scarf no 17") and amount > 0
        deleted = server.request("DELETE", "/v1/items/new")
        assert deleted.body == {"item_id": "new", "deleted": True}
        assert "new" not in ids(server, HISTORY)


def test_a_model_that_recommends_no_cold_items_says_so(content_model: Path, tmp_path: Path) -> None:
    artefact = read(content_model)
    numbers = artefact.content_map["numbers"].copy()
    numbers[-1] = 0.0
    silent = replace(artefact, tensors={**artefact.tensors, CONTENT_MAP + "numbers": numbers})
    items = ItemOverrides(Recommender.of(silent))
    items.apply([ItemChange(1, "shop", "new", {"title": "scarf no 17"})])
    assert not items.is_recommendable("shop", "new")
    assert is_known("new", items.ranker("shop").catalogue), "its events count"
    assert items.is_recommendable("shop", "3-0") and not items.is_recommendable("shop", "missing")
