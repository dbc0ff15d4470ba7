"""The folder for devices: its client gives the answers of the recommender, and needs numpy and onnxruntime only."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from rich_model import START_S, random_history

from reprise.errors import ArtefactError, ConfigError
from reprise.privacy import DeviceClient, export_device
from reprise.recommender import Recommender
from reprise.recommender.search.mmr import unit_vectors
from reprise.recommender.search.vector_changes import VectorChanges

pytestmark = pytest.mark.xdist_group("on_device")

NEVER = {"item_id": "never seen", "timestamp": START_S}


def answers(client: DeviceClient, history: list[Any], **options: Any) -> tuple[list[str], list[float]]:
    for event in history:
        client.add(event)
    found = client.recommend(**options)
    return [one.item_id for one in found], [one.score for one in found]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("exclude_seen", [False, True])
def test_the_client_gives_the_answers_of_the_recommender(
    uncounted: Recommender, folder: Path, seed: int, exclude_seen: bool
) -> None:
    history = [*random_history(seed, 12), NEVER][seed % 2 : 12]
    ids, scores = answers(DeviceClient(folder), history, k=10, exclude_seen=exclude_seen)
    expected = uncounted.recommend(history, 10, exclude_seen=exclude_seen)
    assert ids == expected.item_ids
    assert scores == pytest.approx([one.score for one in expected], abs=1e-5)


def test_the_client_reads_the_time_of_the_request(uncounted: Recommender, folder: Path) -> None:
    history = random_history(1, 12)
    latest = max(event.get("timestamp", 0.0) for event in history)
    ids, scores = answers(DeviceClient(folder), history, k=20, now=latest + 1e6)
    expected = uncounted.recommend(history, 20, now=latest + 1e6)
    assert ids == expected.item_ids
    assert scores == pytest.approx([one.score for one in expected], abs=1e-5)
    assert scores != pytest.approx([one.score for one in uncounted.recommend(history, 20)], abs=1e-5)


def test_counts_and_columns_stay_out_and_would_change_the_answers(counted: Recommender, folder: Path) -> None:
    with np.load(folder / "vectors.npz") as arrays:
        assert not [name for name in arrays.files if "transitions" in name or "count" in name]
    history = random_history(3, 12)
    _, scores = answers(DeviceClient(folder), history, k=20)
    assert scores != pytest.approx([one.score for one in counted.recommend(history, 20)], abs=1e-5)


def test_without_known_events_the_client_recommends_popular_items(
    uncounted: Recommender, folder: Path
) -> None:
    ids, scores = answers(DeviceClient(folder), [], k=5)
    expected = uncounted.recommend([], 5)
    assert (ids, scores) == (expected.item_ids, pytest.approx([one.score for one in expected]))


def test_the_rules_of_the_log_apply(uncounted: Recommender, folder: Path) -> None:
    times = [0, 0, 60, 60 + 3_601, 60 + 3_602]
    history = [
        {"item_id": item, "timestamp": START_S + time}
        for item, time in zip(["p1", "p1", "p2", "p3", "p4"], times, strict=True)
    ]
    client = DeviceClient(folder)
    ids, _ = answers(client, history, k=10)
    assert ids == uncounted.recommend(history, 10).item_ids == uncounted.recommend(history[3:], 10).item_ids
    assert client.events == 2


def test_a_state_continues_in_another_process(folder: Path, tmp_path: Path) -> None:
    history = random_history(5, 12)
    whole, first, second = (DeviceClient(folder) for _ in range(3))
    expected = answers(whole, history, k=10, exclude_seen=True)
    for event in history[:7]:
        first.add(event)
    first.save(tmp_path / "state.npz")
    second.restore(tmp_path / "state.npz")
    assert answers(second, history[7:], k=10, exclude_seen=True) == expected


def test_unavailable_items_are_not_recommended(uncounted: Recommender, tmp_path: Path) -> None:
    changed = uncounted.with_items({"p3": {"available": False}})
    export_device(changed, tmp_path / "device")
    client = DeviceClient(tmp_path / "device")
    assert "p3" not in [one.item_id for one in client.popular(20)]
    ids, _ = answers(client, ["p1"], k=20)
    assert ids == changed.recommend(["p1"], 20).item_ids
    assert sorted([*ids, "p3"]) == sorted(uncounted.recommend(["p1"], 20).item_ids)


def test_half_precision_halves_the_vectors_and_hardly_changes_scores(
    counted: Recommender, tmp_path: Path
) -> None:
    wide = export_device(counted, tmp_path / "wide").file_bytes
    small = export_device(counted, tmp_path / "small", precision="float16").file_bytes
    items, width = counted.artefact.input_ID.shape
    assert wide["vectors.npz"] - small["vectors.npz"] == 2 * items * width
    history = random_history(2, 12)
    exact, rounded = (dict(DeviceClient(tmp_path / name).recommend(20)) for name in ("wide", "small"))
    assert exact.keys() == rounded.keys()
    one, other = (answers(DeviceClient(tmp_path / name), history, k=20)[1] for name in ("wide", "small"))
    assert one == pytest.approx(other, abs=0.05)


ALONE = """
import importlib.abc, json, sys
ALLOWED = {*sys.stdlib_module_names, "numpy", "onnxruntime", "device_client", "__main__"}
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ImportError(f"{name} is not allowed")
        return None
sys.meta_path.insert(0, Refuse())
try:
    import pyarrow
except ImportError:
    pass
else:
    raise SystemExit("the check of imports does not work")
from device_client import DeviceClient
client = DeviceClient(sys.argv[1])
for event in json.loads(sys.argv[2]):
    client.add(event)
print(json.dumps(client.recommend(10)))
"""


def test_the_client_runs_where_only_numpy_and_onnxruntime_can_be_imported(
    uncounted: Recommender, folder: Path
) -> None:
    history = random_history(4, 12)
    run = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder), json.dumps(history)],
        env={"PYTHONPATH": str(folder), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert [item_id for item_id, _ in json.loads(run.stdout)] == uncounted.recommend(history, 10).item_ids


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"timestamp": 1.0}, "an event has item_id"),
        ({"item_id": "p1", "event_type": "view"}, "an event has item_id"),
        (7, "item id 7 is not of type str"),
        ({"item_id": "p1", "kind": "veiw"}, "unknown kind of event 'veiw'; known: view, cart, buy"),
        ({"item_id": "p1", "value": float("inf")}, "value inf is not a finite number"),
        ({"item_id": "p1", "timestamp": "yesterday"}, "'yesterday' is not a time"),
        ({"item_id": "p1", "timestamp": 1.7e12}, "is not a time; pass seconds since 1970"),
        ({"item_id": "p1", "timestamp": START_S - 1}, "is earlier than the one before it"),
    ],
)
def test_an_event_that_cannot_be_read_changes_nothing(folder: Path, event: Any, message: str) -> None:
    client = DeviceClient(folder)
    client.add({"item_id": "p2", "timestamp": START_S})
    before = client.recommend(10)
    with pytest.raises(ValueError, match=message):
        client.add(event)
    assert (client.recommend(10), client.events, client.skipped) == (before, 1, 0)


def test_wrong_arguments_of_an_answer_are_refused(folder: Path) -> None:
    client = DeviceClient(folder)
    client.add({"item_id": "p2", "timestamp": START_S})
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, got 0"):
        client.recommend(0)
    with pytest.raises(ValueError, match="is before the last event"):
        client.recommend(3, now=START_S - 1)


def test_a_changed_a_missing_and_a_foreign_file_are_refused(counted: Recommender, tmp_path: Path) -> None:
    path = tmp_path / "device"
    export_device(counted, path)
    with pytest.raises(ValueError, match=r"has no device.json; write it with `reprise export-device"):
        DeviceClient(tmp_path)
    (path / "ids.json").write_text((path / "ids.json").read_text().replace("p1", "q1"))
    with pytest.raises(ValueError, match=r"ids.json was changed \(its checksum differs\)"):
        DeviceClient(path)
    (path / "ids.json").unlink()
    with pytest.raises(ValueError, match=r"ids.json is missing"):
        DeviceClient(path)
    (path / "device.json").write_text('{"format": 9}')
    with pytest.raises(ValueError, match="has another format than 1"):
        DeviceClient(path)


def test_the_state_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    client = DeviceClient(folder)
    client.save(tmp_path / "state.npz")
    client.facts["model"] = "another"
    with pytest.raises(ValueError, match="has the state of another model; add the events again"):
        client.restore(tmp_path / "state.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "state.npz").read_bytes()[:100])
    (tmp_path / "text.npz").write_text("tea")
    for name in ("half", "text"):
        with pytest.raises(ValueError, match=f"{name}.npz is not a state that `save` wrote"):
            client.restore(tmp_path / f"{name}.npz")


def test_an_export_replaces_an_earlier_one_and_nothing_else(counted: Recommender, tmp_path: Path) -> None:
    export_device(counted, tmp_path / "device", precision="float16")
    export_device(counted, tmp_path / "device")
    assert DeviceClient(tmp_path / "device").ids == counted.items.ids.tolist()
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("tea")
    with pytest.raises(ArtefactError, match=r"exists and is not a folder for devices \(monday.txt\)"):
        export_device(counted, tmp_path / "diary")
    with pytest.raises(ConfigError, match="precision must be 'float32' or 'float16', got 'int4'"):
        export_device(counted, tmp_path / "device", precision="int4")  # type: ignore[arg-type]


def test_vectors_that_were_changed_after_the_export_of_the_model_are_refused(
    uncounted: Recommender, tmp_path: Path
) -> None:
    network = replace(uncounted.ranker.network, input_changes=cast(VectorChanges, object()))
    changed = uncounted.with_ranker(replace(uncounted.ranker, network=network))
    with pytest.raises(
        ConfigError, match="has items with vectors that the saved model does not have; pass the saved model"
    ):
        export_device(changed, tmp_path / "device")
    assert not (tmp_path / "device").exists()


def with_output(recommender: Recommender, form: str) -> Recommender:
    """Return a recommender whose output vectors are its input vectors, these divided by their norms, or others."""
    artefact = recommender.artefact
    own_ID = np.random.default_rng(0).normal(size=artefact.input_ID.shape).astype(np.float32)
    others = {name: array for name, array in artefact.tensors.items() if name != "output"}
    outputs = {"input": {}, "unit": {"output": unit_vectors(artefact.input_ID)}, "own": {"output": own_ID}}
    return Recommender.of(replace(artefact, tensors={**others, **outputs[form]}))


@pytest.mark.parametrize("form", ["input", "unit", "own"])
def test_output_vectors_that_follow_from_input_vectors_are_not_stored(
    uncounted: Recommender, tmp_path: Path, form: str
) -> None:
    shop = with_output(uncounted, form)
    export_device(shop, tmp_path / "device")
    with np.load(tmp_path / "device" / "vectors.npz") as arrays:
        assert ("output" in arrays.files) == (form == "own")
    history = random_history(6, 12)
    ids, scores = answers(DeviceClient(tmp_path / "device"), history, k=10)
    expected = shop.recommend(history, 10)
    assert ids == expected.item_ids
    assert scores == pytest.approx([one.score for one in expected], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("form", "enough"), [("input", True), ("unit", True), ("own", False)])
def test_a_folder_for_a_scoring_server_has_no_output_vectors(
    uncounted: Recommender, tmp_path: Path, form: str, enough: bool
) -> None:
    written = export_device(with_output(uncounted, form), tmp_path / "client", scoring="server")
    with np.load(tmp_path / "client" / "vectors.npz") as arrays:
        assert "output" not in arrays.files
    assert written.has_output_vectors == enough
    client = DeviceClient(tmp_path / "client")
    client.add("p1")
    with pytest.raises(
        ValueError, match="this folder has no output vectors, because a server computes the scores"
    ):
        client.recommend(3)
