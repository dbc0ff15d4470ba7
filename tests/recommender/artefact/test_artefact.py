import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from manifests import rewrite
from safetensors.numpy import save

from reprise.data.io.arrow_columns import write_table
from reprise.errors import ArtefactError, ConfigError, RepriseError
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.recommender.artefact.artefact import FILES, ITEMS, MANIFEST, OLD_FILES, VECTORS, write
from reprise.recommender.artefact.bounded_read import MAX_MANIFEST_BYTES
from reprise.recommender.artefact.reading import read
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.search.quantized_index import MIN_ITEMS, QuantizedIndex
from reprise.testing.worlds import world

NAMES = {MANIFEST, *FILES}


@pytest.fixture
def saved(shop: Recommender, tmp_path: Path) -> Path:
    shop.save(tmp_path / "shop.model")
    return tmp_path / "shop.model"


def names(folder: Path) -> set[str]:
    """Return the names of the files in a directory."""
    return {file.name for file in folder.iterdir()}


def test_a_saved_model_is_a_directory_of_files(saved: Path) -> None:
    assert names(saved) == NAMES
    assert names(saved.parent) == {"shop.model"}


def test_the_manifest_describes_the_model_and_its_files(saved: Path, shop: Recommender) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    assert manifest["format"] == 5
    assert manifest["facts"]["spec"]["class"] == "reprise:Recurrent"
    assert manifest["facts"]["training"] == {"epochs": 3}
    assert manifest["facts"]["data"]["fingerprint"] == shop.artefact.metadata["data"]["fingerprint"]
    assert {name: file["bytes"] for name, file in manifest["files"].items()} == {
        name: (saved / name).stat().st_size for name in FILES
    }


def test_saving_again_replaces_the_model(saved: Path, counting_shop: Recommender) -> None:
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}


def test_missing_parent_directories_are_created(shop: Recommender, tmp_path: Path) -> None:
    shop.save(tmp_path / "a" / "b" / "shop.model")
    assert names(tmp_path / "a" / "b" / "shop.model") == NAMES


def test_a_model_can_be_saved_to_an_empty_directory(shop: Recommender, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shop.save(tmp_path / "empty")
    assert names(tmp_path / "empty") == NAMES


def test_only_saved_models_are_replaced(shop: Recommender, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("mine")
    (saved / "notes.txt").write_text("mine too")
    for name, reason in [
        ("letter.txt", "letter.txt itself"),
        ("folder", "no manifest.json"),
        ("shop.model", "notes.txt"),
    ]:
        with pytest.raises(
            ArtefactError,
            match=rf"exists and is not a saved model \({reason}\); choose another path or remove it$",
        ):
            shop.save(tmp_path / name)
    assert (tmp_path / "letter.txt").read_text() == "dear"
    assert (saved / "notes.txt").read_text() == "mine too"


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (None, {}, r"^path must be a path, got None$"),
        (b"x", {}, r"^path must be a path, got b'x'$"),
        ("", {}, r"^path must be the path of a file or directory, got ''$"),
        ("a\0b", {}, r"^path must be the path of a file or directory, got "),
        ("x" * 300, {}, r"^cannot write x+ \(File name too long\); free some space or choose another path$"),
        ("m", {"attribution": ["a"]}, r"^attribution must be a mapping, got \['a'\]; pass texts by name, such as "),
        ("m", {"attribution": {"data": "\udc80"}}, r"^the description of the model cannot be written as JSON \(.*; pass texts"),
        ("m", {"attribution": {"data": {1}}}, r"^the description of the model cannot be written as JSON \(.*; pass texts"),
        ("m", {"report": {"metrics": 1, "targets": 1, "protocol": {}}}, r"^report must be the result of evaluate, or the "),
        ("m", {"report": 3}, r"^report must be the result of evaluate, or the mapping of its to_dict, got 3$"),
    ],
)  # fmt: skip
def test_arguments_of_a_wrong_type_are_refused_and_write_nothing(
    shop: Recommender,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: Any,
    options: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RepriseError, match=message):
        shop.save(path, **options)
    assert names(tmp_path) == set()


def test_a_full_disk_leaves_the_old_model_and_no_other_files(
    saved: Path, counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ArtefactError,
        match=r"shop\.model \(No space left on device\); free some space or choose another path$",
    ):
        counting_shop.save(saved)
    assert Recommender.load(saved).name == "rglru 2 x 16"
    assert names(saved.parent) == {"shop.model"}


def test_a_failed_rename_restores_the_old_model(
    saved: Path, counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename: Callable[[Path, Path], Path] = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(ArtefactError, match=r"Input/output error"):
        counting_shop.save(saved)
    assert Recommender.load(saved).name == "rglru 2 x 16"
    assert names(saved.parent) == {"shop.model"}


def test_a_second_save_to_the_same_place_is_refused_and_leaves_the_files_of_the_first(
    saved: Path, counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, refused = os.fsync, []

    def second_save(number: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(ConfigError) as caught:
            counting_shop.save(saved)
        refused.append(str(caught.value))

    monkeypatch.setattr(os, "fsync", second_save)
    counting_shop.save(saved)
    assert refused == [
        f"another process saves a model as {saved} (process id {os.getpid()}); wait until it ends, or choose another --out"
    ]
    assert Recommender.load(saved).name == counting_shop.name
    assert names(saved.parent) == {"shop.model"}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(
        ArtefactError, match=rf"{name} is missing; copy the whole directory again, or export the model again$"
    ):
        Recommender.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named_with_both_sizes(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).write_bytes(data[:-7])
    with pytest.raises(
        ArtefactError, match=rf"{name} has {len(data) - 7} bytes instead of {len(data)}; copy the whole "
    ):
        Recommender.load(saved)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_detected(saved: Path, name: str) -> None:
    data = bytearray((saved / name).read_bytes())
    data[len(data) // 2] ^= 1
    (saved / name).write_bytes(bytes(data))
    with pytest.raises(
        ArtefactError,
        match=rf"{name} was changed after it was saved \(its checksum differs\); copy the whole ",
    ):
        Recommender.load(saved)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"epochs": 3', '"epochs": 4', r"manifest\.json was changed after it was saved \(its checksum differs\); copy "),
        ('"format": 5', '"format": 9', r"shop\.model has model format 9, and this version of reprise reads 2 to 5; export the "
         r"model again with `reprise export RUN --out \S+shop\.model`, or install reprise \S+, which wrote it$"),
        ('"facts": {', '"facts" {', r"manifest\.json is damaged \(.*\); copy the whole directory again, or "),
    ],
)  # fmt: skip
def test_a_changed_manifest_is_detected(saved: Path, old: str, new: str, message: str) -> None:
    text = (saved / MANIFEST).read_text()
    assert old in text
    (saved / MANIFEST).write_text(text.replace(old, new))
    with pytest.raises(ArtefactError, match=message):
        Recommender.load(saved)


@pytest.mark.parametrize("content", ["", "[]", "3", "null"])
def test_a_manifest_that_is_not_a_json_object_is_damaged(saved: Path, content: str) -> None:
    (saved / MANIFEST).write_text(content)
    with pytest.raises(ArtefactError, match=r"manifest\.json is damaged"):
        Recommender.load(saved)


def test_the_error_for_a_directory_without_a_model_names_the_command(tmp_path: Path) -> None:
    for path, what in ((tmp_path, "is an empty directory"), (tmp_path / "nothing", "does not exist")):
        with pytest.raises(
            ArtefactError,
            match=rf"^{path} is not a saved model \(it {what}\); make one with `reprise export RUN --out {path}`$",
        ):
            Recommender.load(path)


def test_files_of_two_models_are_refused(saved: Path, counting_shop: Recommender) -> None:
    """All checksums are correct, but the metadata is of one model and the tensors are of another."""
    rewrite(saved, files={VECTORS: save(dict(counting_shop.artefact.tensors))})
    with pytest.raises(
        ArtefactError,
        match=r"shop\.model cannot be used: the files do not belong together: the manifest has 12 vectors, 'input' has 30; "
        r"export the model again$",
    ):
        Recommender.load(saved)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("facts", None, r"facts\.name is missing"),
        ("facts", {"name": 3}, r"facts\.name is 3, not text"),
        ("files", None, r"files\.vectors\.safetensors is None, not a size and a checksum"),
        ("files", {}, r"files\.vectors\.safetensors is None, not a size and a checksum"),
        ("files", dict.fromkeys(FILES), r"files\.vectors\.safetensors is None, not a size and a checksum"),
        ("files", {name: {"sha256": 1, "bytes": 2} for name in FILES}, r"files\.vectors\.safetensors is \{'sha256': 1"),
        ("files", {name: {"sha256": "1", "bytes": -2} for name in FILES}, r".*not a size and a checksum"),
    ],
)  # fmt: skip
def test_a_manifest_with_a_wrong_entry_is_refused(
    saved: Path, entry: str, value: object, message: str
) -> None:
    """The checksum of the manifest is correct: only its content is wrong."""
    rewrite(saved, entries={entry: value})
    with pytest.raises(ArtefactError, match=rf"^the manifest of \S+shop\.model is not valid: {message}"):
        Recommender.load(saved)


@pytest.mark.parametrize("kinds", [[], "view", [1], ["view", "view"]])
def test_kinds_that_are_not_different_texts_are_refused(saved: Path, kinds: object) -> None:
    facts = json.loads((saved / MANIFEST).read_text())["facts"]
    facts["data"]["kinds"] = kinds
    rewrite(saved, facts=facts)
    with pytest.raises(ArtefactError, match=r"facts\.data\.kinds is "):
        Recommender.load(saved)


@pytest.fixture
def saved_rich(rich_shop: Recommender, tmp_path: Path) -> Path:
    """A saved model with co-occurrence tables and times in its state."""
    rich_shop.save(tmp_path / "shop.model")
    return tmp_path / "shop.model"


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_in_every_tensor(
    saved_rich: Path, rich_shop: Recommender, number: float
) -> None:
    tensors = dict(rich_shop.artefact.tensors)
    floats = [name for name, tensor in tensors.items() if tensor.dtype == np.float32]
    assert {"input", "initial.hidden", "transitions.score"} <= set(floats)
    for name in floats:
        changed = tensors[name].copy()
        changed.flat[-1] = number
        rewrite(saved_rich, files={VECTORS: save(tensors | {name: changed})})
        with pytest.raises(ArtefactError, match=rf"the tensor '{name}' has 1 numbers that are not finite"):
            Recommender.load(saved_rich)
        with pytest.raises(ArtefactError, match=rf"the tensor '{name}' has 1 numbers that are not finite"):
            write(
                replace(rich_shop.artefact, tensors=tensors | {name: changed}),
                saved_rich.parent / "other.model",
            )
    assert names(saved_rich.parent) == {"shop.model"}


def test_large_finite_numbers_are_not_taken_for_infinite_ones(
    saved_rich: Path, rich_shop: Recommender
) -> None:
    """The sum of these numbers overflows, and each of them is finite."""
    tensors = dict(rich_shop.artefact.tensors)
    vectors = tensors["input"].copy()
    vectors[1:] = 3e38
    rewrite(saved_rich, files={VECTORS: save(tensors | {"input": vectors})})
    Recommender.load(saved_rich)


@pytest.mark.parametrize("name", ["input", "output", "transitions.gain"])
def test_a_model_that_computes_scores_that_are_not_finite_is_refused(
    saved_rich: Path, rich_shop: Recommender, name: str
) -> None:
    """All numbers in the files are finite, but the products of them are not."""
    tensors = dict(rich_shop.artefact.tensors)
    rewrite(saved_rich, files={VECTORS: save(tensors | {name: np.full_like(tensors[name], 3e38)})})
    with pytest.raises(
        ArtefactError,
        match=r"^the model \S+shop\.model cannot be used: the model computes scores that are not finite after an event of "
        r"kind 0; train it again$",
    ):
        Recommender.load(saved_rich)


def test_more_kinds_than_the_graph_knows_are_refused_with_one_message(
    saved_rich: Path, rich_shop: Recommender, capfd: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads((saved_rich / MANIFEST).read_text())["facts"]
    facts["data"]["kinds"].append("another")
    # without the weights of the kinds, whose number is checked before
    tensors = {name: one for name, one in rich_shop.artefact.tensors.items() if name != "repeats.kind"}
    rewrite(saved_rich, facts=facts, files={VECTORS: save(tensors)})
    with pytest.raises(
        ArtefactError, match=r"shop\.model cannot be used: the graphs do not fit the other files \("
    ):
        Recommender.load(saved_rich)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "rules",
    [
        True, [], "drop", {"other": 1}, {"drop_duplicates": 1}, {"session_gap_ms": "x"}, {"session_gap_ms": True},
        {"session_gap_ms": -5}, {"session_gap_ms": 1.5}, {"has_kinds": None}, {"sequence_by": "day"}, {"sequence_by": []},
    ],
)  # fmt: skip
def test_rules_of_histories_that_are_not_valid_are_refused(saved: Path, rules: object) -> None:
    facts = json.loads((saved / MANIFEST).read_text())["facts"]
    facts["data"]["history"] = rules
    rewrite(saved, facts=facts)
    with pytest.raises(
        ArtefactError,
        match=r"shop\.model cannot be used: .* are not rules of histories; export the model again$",
    ):
        Recommender.load(saved)


@pytest.mark.parametrize(
    ("name", "value"),
    [("warm", "x"), ("warm", True), ("parts", []), ("fingerprint", 3), ("events", None), ("split", [])],
)
def test_facts_that_the_model_card_needs_are_checked(saved: Path, name: str, value: object) -> None:
    facts = json.loads((saved / MANIFEST).read_text())["facts"]
    facts["data"][name] = value
    rewrite(saved, facts=facts)
    with pytest.raises(
        ArtefactError, match=rf"facts\.data\.{name} is (missing|.*, not (text|an object|a whole number));"
    ):
        Recommender.load(saved)


def test_a_manifest_with_text_that_is_not_unicode_is_damaged(saved: Path) -> None:
    facts = json.loads((saved / MANIFEST).read_text())["facts"]
    rewrite(saved, facts=facts | {"name": "\ud800"})
    with pytest.raises(
        ArtefactError, match=r"manifest\.json is damaged \(.*surrogates not allowed\); copy the whole"
    ):
        Recommender.load(saved)


def _changed(tensors: dict[str, np.ndarray], name: str, change: Callable[[np.ndarray], object]) -> bytes:
    tensor = tensors[name].copy()
    result = change(tensor)
    return save(tensors | {name: np.ascontiguousarray(result) if isinstance(result, np.ndarray) else tensor})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("transitions.neighbour", lambda table: table.fill(999), "refers to an item that does not exist"),
        ("transitions.neighbour", lambda table: table.fill(0), "refers to an item that does not exist"),
        ("transitions.start", lambda table: table[::-1], "row offsets of the co-occurrence tables do not fit"),
        ("transitions.start", lambda table: table[:-1], "row offsets of the co-occurrence tables do not fit"),
        ("transitions.score", lambda table: table[:-1], "co-occurrence scores do not fit the pairs"),
        ("transitions.score", lambda table: -table, "co-occurrence scores do not fit the pairs"),
        ("transitions.gain", lambda table: table[None], "another number of dimensions"),
        ("transitions.gain", lambda table: np.repeat(table, 2), "a floor or gain of the co-occurrence tables is not"),
        ("transitions.weight", lambda table: table[:0], "no window of 0 items, which the co-occurrence tables need"),
        ("transitions.weight", lambda table: np.repeat(table, 2), "no window of 8 items, which the co-occurrence tables need"),
        ("transitions.weight", lambda table: table.astype(np.int32), "another number of dimensions or another type"),
        ("transitions.cosine", lambda table: table[:-1], "co-occurrence scores do not fit the pairs"),
        ("transitions.cosine", lambda table: table - 2, "co-occurrence scores do not fit the pairs"),
        ("transitions.cosine_weight", lambda table: -table, "a score or weight is negative"),
        ("transitions.cosine_weight", lambda table: np.repeat(table, 2), "no window of 8 items"),
        ("repeats.window", lambda table: table * 0, "no window of 0 items, which the repeat head need"),
        ("repeats.window", lambda table: table + 1, "no window of 7 items, which the repeat head need"),
        ("repeats.window", lambda table: table - 9, "no window of -3 items, which the repeat head need"),
        ("repeats.window", lambda table: table.astype(np.float32), "'window' of the repeat head has another shape or type"),
        ("repeats.window", lambda table: table + 2**40, "a number of 'window' of the repeat head is above 1e[+]06"),
        ("repeats.position", lambda table: table[:-1], "'position' of the repeat head has another shape or type"),
        ("repeats.gate", lambda table: table[None], "'gate' of the repeat head has another shape or type"),
        ("repeats.gate", lambda table: table * 0 - 3e38, "a number of 'gate' of the repeat head is above 1e[+]06"),
        ("repeats.kind", lambda table: table[:-1], "'kind' of the repeat head has another shape or type"),
        ("repeats.time", lambda table: table.astype(np.int64), "'time' of the repeat head has another shape or type"),
        ("repeats.scale", lambda table: table * 0, "the scale of the repeat head is not positive"),
        ("repeats.scale", lambda table: -table, "the scale of the repeat head is not positive"),
        ("repeats.scale", lambda table: table * 1e-30, "the scale of the repeat head is not positive"),
        ("repeats.shift", lambda table: 1 - table, "the scale of the repeat head is not positive, or its shift is"),
        ("initial.recent", lambda table: table.astype(np.float32), "no window of 4 items, which the co-occurrence tables need"),
        ("initial.recent", lambda table: table[0], "initial state is not the state of one user"),
        ("initial.recent", lambda table: table[..., None], "no window of 4 items"),
        ("initial.recent", lambda table: table - 1, "window of the last items refers to an item that does not exist"),
        ("initial.recent", lambda table: table + 21, "window of the last items refers to an item that does not exist"),
        ("initial.recent_time_s", lambda table: table[:, 1:], "a state 'recent_time_s' that does not fit 'recent'"),
        ("initial.recent_time_s", lambda table: table * 0 == 1, "a state 'recent_time_s' that does not fit 'recent'"),
        ("initial.recent_kind", lambda table: table[:, 1:], "a state 'recent_kind' that does not fit 'recent'"),
        ("initial.recent_kind", lambda table: table + 3, "a kind of the last events does not exist"),
        ("input", lambda table: table[:, :, None], "'input' is not a matrix of float32"),
        ("input", lambda table: table.astype(np.float64), "'input' is not a matrix of float32"),
        ("initial.hidden", lambda table: np.repeat(table, 2, axis=0), "initial state is not the state of one user"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(
    saved_rich: Path, rich_shop: Recommender, name: str, change: Callable[[np.ndarray], object], message: str
) -> None:
    rewrite(saved_rich, files={VECTORS: _changed(dict(rich_shop.artefact.tensors), name, change)})
    with pytest.raises(ArtefactError, match=message):
        Recommender.load(saved_rich)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transitions.gain", r"the co-occurrence tables are \[.*\] instead of \["),
        ("transitions.cosine", r"the co-occurrence tables are \[.*\] instead of \["),
        ("repeats.gate", r"the repeat head has \[.*\] instead of \["),
        ("initial.recent", "the state has no window of 4 items, which the co-occurrence tables need"),
        ("initial.recent_kind", "reads a state 'recent_kind' that does not fit 'recent'"),
    ],
)
def test_missing_arrays_are_refused(
    saved_rich: Path, rich_shop: Recommender, name: str, message: str
) -> None:
    tensors = {other: tensor for other, tensor in rich_shop.artefact.tensors.items() if other != name}
    rewrite(saved_rich, files={VECTORS: save(tensors)})
    with pytest.raises(ArtefactError, match=message):
        Recommender.load(saved_rich)


def test_unknown_arrays_of_the_repeat_head_are_refused(saved_rich: Path, rich_shop: Recommender) -> None:
    tensors = dict(rich_shop.artefact.tensors) | {"repeats.other": np.ones(1, dtype=np.float32)}
    rewrite(saved_rich, files={VECTORS: save(tensors)})
    with pytest.raises(ArtefactError, match=r"the repeat head has \[.*'other'.*\] instead of "):
        Recommender.load(saved_rich)


@pytest.mark.parametrize("version", [2, 3])
def test_a_model_of_an_earlier_version_has_counts_only(
    saved_rich: Path, rich_shop: Recommender, version: int
) -> None:
    """Its state still has times and kinds, which nothing reads."""
    tensors = {
        name: tensor
        for name, tensor in rich_shop.artefact.tensors.items()
        if not name.startswith(("repeats.", "transitions.cosine"))
    }
    rewrite(saved_rich, files={VECTORS: save(tensors)}, format=version)
    loaded = Recommender.load(saved_rich)
    network = rich_shop.ranker.network
    assert network.cooccurrence is not None
    counts = replace(
        network.cooccurrence, cosine=None, cosine_weight=None, cosine_floor=None, cosine_gain=None
    )
    expected = replace(network, cooccurrence=counts, repeats=None)
    state = network.fold([EventArrays.of_items(np.array([1, 2, 1, 3]))])
    assert np.array_equal(loaded.ranker.network.scores(state), expected.scores(state))
    assert not np.array_equal(network.scores(state), expected.scores(state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.slice(1), r"the table has \d+ rows instead of \d+"),
        (lambda table: table.drop_columns("count"), r"has 0 columns 'count' instead of one"),
        (lambda table: table.append_column("count", table["count"]), r"has 2 columns 'count' instead of one"),
        (lambda table: _with(table, "count", [-1] * len(table)), r"a count of the item table is missing or negative"),
        (lambda table: _with(table, "count", [None, *[1] * (len(table) - 1)]), r"missing or negative"),
        (lambda table: _with(table, "count", [0.5] * len(table)), r"the counts of the item table are not integers"),
        (lambda table: _with(table, "item_id", [1.5] * len(table)), r"neither texts nor integers"),
        (lambda table: _with(table, "item_id", ["a"] * len(table)), r"some item ids of the item table occur several times"),
        (lambda table: _with(table, "title", [["a"]] * len(table)), r"the column 'title' of the item table has lists"),
        (lambda table: _with(table, "item_id", [None, *["a"] * (len(table) - 1)]), r"or some are missing"),
    ],
)  # fmt: skip
def test_item_tables_that_do_not_fit_are_refused(
    saved: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    table = change(read(saved).items)
    rewrite(saved, files={ITEMS: write_table(table)})
    with pytest.raises(ArtefactError, match=message):
        Recommender.load(saved)


def _with(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_files_that_are_not_regular_are_refused_without_reading_them(saved: Path, name: str) -> None:
    """Reading a device would not end, and opening a named pipe would wait for a writer."""
    file = saved / name
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(ArtefactError, match=rf"{name} is a device, not a regular file; copy the whole "):
        Recommender.load(saved)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ArtefactError, match=rf"{name} is a named pipe, not a regular file; copy the whole "):
        Recommender.load(saved)
    file.unlink()
    file.mkdir()
    with pytest.raises(ArtefactError, match=rf"{name} is a directory, not a regular file; copy the whole "):
        Recommender.load(saved)


def test_links_to_files_are_followed(saved: Path, tmp_path: Path) -> None:
    for file in list(saved.iterdir()):
        file.rename(tmp_path / file.name)
        file.symlink_to(tmp_path / file.name)
    assert Recommender.load(saved).name == "rglru 2 x 16"


def test_a_manifest_that_is_too_large_or_too_deep_is_refused(saved: Path) -> None:
    (saved / MANIFEST).write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(ArtefactError, match=r"manifest\.json has \d+ bytes, at most \d+ are accepted"):
        Recommender.load(saved)
    (saved / MANIFEST).write_bytes(b"[" * 200_000)
    with pytest.raises(ArtefactError, match=r"manifest\.json is damaged"):
        Recommender.load(saved)


def test_read_returns_the_artefact_that_was_written(shop: Recommender, saved: Path) -> None:
    artefact = read(saved)
    assert artefact.metadata == shop.artefact.metadata
    assert artefact.items.equals(shop.artefact.items)
    assert (artefact.step, artefact.query) == (shop.artefact.step, shop.artefact.query)
    assert set(artefact.tensors) == set(shop.artefact.tensors)


class Killed(BaseException):
    """An exception that no handler catches, like the end of a process."""


def test_a_kill_between_the_renames_leaves_a_backup_that_the_message_names(
    saved: Path, counting_shop: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename: Callable[[Path, Path], Path] = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "rename", killed)
        counting_shop.save(saved)
    old = saved.parent / ".shop.model.old"
    with pytest.raises(ArtefactError) as caught:
        Recommender.load(saved)
    assert str(caught.value) == (
        f"{saved} is missing: a save was killed while it replaced the model, and the previous model is {old}; "
        f"rename that to {saved}, or save or export the model again"
    )
    assert Recommender.load(old).name == "rglru 2 x 16"
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}


def test_the_next_save_removes_files_that_a_killed_save_left(saved: Path, counting_shop: Recommender) -> None:
    for left in (".shop.model.partial", ".shop.model.old"):
        (saved.parent / left).mkdir()
        (saved.parent / left / "README.md").touch()
    counting_shop.save(saved)
    assert Recommender.load(saved).name == "counting"
    assert names(saved.parent) == {"shop.model"}


@pytest.fixture(scope="module")
def large() -> Recommender:
    """A recommender with enough items for the quantised search."""
    generator = np.random.default_rng(0)
    # the split leaves two events, and so two items, out of the training part
    log = world([generator.permutation(MIN_ITEMS + 2).tolist()])
    torch.manual_seed(0)
    spec = Recurrent(cell="gru", size=8, layers=1, attention=0, cooccurrence=0, repeats=0)
    return Recommender(spec.build(log.sizes), log)


@pytest.fixture
def saved_large(large: Recommender, tmp_path: Path) -> Path:
    large.save(tmp_path / "large.model")
    return tmp_path / "large.model"


def requests(shop: Recommender) -> list[object]:
    """Return results of the three searches: over scores, over scores with filters, and over cosines."""
    histories = [[3], [5, 9, 2], [100, 7]]
    single = [shop.recommend(history, 20, deny=[4], exclude_seen=True) for history in histories]
    return [single, shop.recommend_many(histories, 5), shop.similar_items(3, 20), shop.similar_items(77, 3)]


def test_a_loaded_large_model_uses_the_quantized_search(large: Recommender, saved_large: Path) -> None:
    loaded = Recommender.load(saved_large)
    for shop in (large, loaded):
        index = shop.ranker.index
        assert isinstance(index, QuantizedIndex) and index._quantized is not None
    assert requests(loaded) == requests(large)
    assert loaded._similarity._index is not None and loaded._similarity._index._quantized is not None
    loaded.self_check()


def test_the_search_is_shared_by_recommenders_with_changed_items(large: Recommender) -> None:
    changed = large.with_items({3: {"title": "Three"}})
    assert changed.ranker.index is large.ranker.index
    changed.similar_items(3)
    assert changed._similarity is large._similarity


@pytest.mark.parametrize(("version", "files"), [(2, ()), (3, OLD_FILES)])
def test_models_of_earlier_versions_give_the_same_recommendations(
    large: Recommender, saved_large: Path, version: int, files: Sequence[str]
) -> None:
    rewrite(saved_large, files=dict.fromkeys(files, b"a graph"), format=version)
    loaded = Recommender.load(saved_large)
    assert requests(loaded) == requests(large)
    loaded.self_check()


def test_saving_over_a_model_of_an_earlier_version_removes_its_old_files(
    shop: Recommender, saved_large: Path
) -> None:
    rewrite(saved_large, files=dict.fromkeys(OLD_FILES, b"a graph"))
    shop.save(saved_large)
    assert names(saved_large) == NAMES
    assert names(saved_large.parent) == {"large.model"}
    assert json.loads((saved_large / MANIFEST).read_text())["format"] == 5


@pytest.mark.parametrize("version", [1, 6, "3", None])
def test_other_formats_are_refused_with_the_command_that_makes_a_new_model(
    saved: Path, version: object
) -> None:
    manifest = json.loads((saved / MANIFEST).read_text()) | {"format": version}
    (saved / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(
        ArtefactError,
        match=rf"has model format {version!r}, and this version of reprise reads 2 to 5; export the model again with "
        rf"`reprise export RUN --out {saved}`, or install reprise \S+, which wrote it$",
    ):
        Recommender.load(saved)
