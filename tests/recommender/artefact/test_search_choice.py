"""Saved models with an approximate search: what is built, what the manifest says, and what is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from manifests import rewrite

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender
from reprise.recommender.artefact import search_choice
from reprise.recommender.artefact.artefact import LISTS, MANIFEST, OUTPUT, SEARCH
from reprise.recommender.artefact.search_choice import MIN_ITEMS
from reprise.recommender.search.approximate_index import ApproximateIndex
from reprise.recommender.search.quantized_index import QuantizedIndex
from reprise.testing.worlds import world

ITEMS = 3000


@pytest.fixture(scope="module")
def books() -> SequenceDataset:
    generator = np.random.default_rng(0)
    order = generator.permutation(ITEMS)
    rows = [order[start : start + 10].tolist() for start in range(0, ITEMS, 10)]
    return world([[*row, *generator.integers(ITEMS, size=2).tolist()] for row in rows])


@pytest.fixture(scope="module")
def bookshop(books: SequenceDataset) -> Recommender:
    torch.manual_seed(0)
    spec = Recurrent(cell="gru", size=8, layers=1, attention=0, cooccurrence=0, repeats=0)
    return Recommender(spec.build(books.sizes), books)


@pytest.fixture(scope="module")
def saved_once(bookshop: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("books") / "books.model"
    bookshop.save(path, search="approximate")
    return path


@pytest.fixture
def saved(saved_once: Path, tmp_path: Path) -> Path:
    """Return a copy of the model, which a test may change."""
    copy = tmp_path / "books.model"
    copy.mkdir()
    for file in saved_once.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def manifest_of(path: Path) -> dict[str, dict[str, dict[str, object]]]:
    manifest: dict[str, dict[str, dict[str, object]]] = json.loads((path / MANIFEST).read_text())
    return manifest


def test_the_manifest_and_the_card_have_the_recall(saved_once: Path) -> None:
    manifest = manifest_of(saved_once)
    facts = manifest["facts"][SEARCH]
    assert facts["method"] == "approximate" and facts["wanted recall"] == 0.98
    assert isinstance(facts["recall@20"], float) and 0.9 <= facts["recall@20"] <= 1
    assert facts["histories"] == "sampled users of the dataset" and facts["queries"] == 256
    assert manifest["files"][LISTS]["bytes"] == (saved_once / LISTS).stat().st_size
    card = (saved_once / "README.md").read_text()
    assert f"Approximate: it found {facts['recall@20']:.1%} of the 20 best items of 256 queries" in card


def test_a_loaded_model_searches_approximately_and_passes_its_self_check(
    saved_once: Path, bookshop: Recommender
) -> None:
    loaded = Recommender.load(saved_once)
    assert isinstance(loaded.ranker.index, ApproximateIndex)
    assert isinstance(bookshop.ranker.index, QuantizedIndex)
    loaded.self_check()
    history = [3, 17, 5]
    found, exact = loaded.recommend(history, 20), bookshop.recommend(history, 20)
    assert len({*found.item_ids} & {*exact.item_ids}) >= 15
    score_of = {one.item_id: one.score for one in bookshop.recommend(history, ITEMS)}
    assert [one.score for one in found] == pytest.approx([score_of[one.item_id] for one in found], abs=1e-5)


def test_lists_filters_and_seen_items_keep_their_meaning(saved_once: Path, bookshop: Recommender) -> None:
    loaded = Recommender.load(saved_once)
    allow = list(range(0, ITEMS, 7))
    assert (
        loaded.recommend([1, 2], 10, allow=allow).item_ids
        == bookshop.recommend([1, 2], 10, allow=allow).item_ids
    )
    best = loaded.recommend([1, 2, 3], 5).item_ids
    assert not {*loaded.recommend([1, 2, 3], 5, deny=best).item_ids} & {*best}
    seen = loaded.recommend(best, ITEMS, exclude_seen=True).item_ids
    assert len(seen) == ITEMS - len(best) and not {*seen} & {*best}


def test_the_vectors_of_the_loaded_model_are_mapped(saved_once: Path) -> None:
    vectors_ID = Recommender.load(saved_once).artefact.output_ID
    assert not vectors_ID.flags.owndata and not vectors_ID.flags.writeable


def test_saving_a_loaded_model_keeps_its_search(saved_once: Path, tmp_path: Path) -> None:
    loaded = Recommender.load(saved_once)
    loaded.save(tmp_path / "copy")
    assert manifest_of(tmp_path / "copy")["facts"][SEARCH] == manifest_of(saved_once)["facts"][SEARCH]
    loaded.save(tmp_path / "copy", search="exact")
    assert SEARCH not in manifest_of(tmp_path / "copy")["facts"] and not (tmp_path / "copy" / LISTS).exists()
    assert isinstance(Recommender.load(tmp_path / "copy").ranker.index, QuantizedIndex)


def test_a_model_without_its_dataset_is_checked_with_drawn_histories(saved_once: Path) -> None:
    artefact = Recommender.load(saved_once).artefact.with_search(None, None)
    found = search_choice.with_search(artefact, None, "approximate")
    assert found.metadata[SEARCH]["histories"] == "items drawn by their number of events"


def test_auto_is_exact_for_small_catalogues_and_approximate_for_large_ones(
    bookshop: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bookshop.save(tmp_path / "m").lists is None
    monkeypatch.setattr(search_choice, "AUTO_ITEMS", ITEMS - 1)
    assert bookshop.save(tmp_path / "m").lists is not None


def test_auto_without_faiss_is_exact_with_a_warning(
    bookshop: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_choice, "AUTO_ITEMS", ITEMS - 1)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.warns(
        UserWarning, match=r"3000 items is exact.*faiss is not installed: pip install \"reprise\[faiss\]\""
    ):
        assert bookshop.save(tmp_path / "m").lists is None


def test_a_recall_below_the_floor_is_refused_and_the_old_model_stays(
    bookshop: Recommender, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = manifest_of(saved)
    monkeypatch.setattr(search_choice, "measured_recall", lambda *arguments: 0.6)
    with pytest.raises(
        ConfigError, match=r"finds 0\.600 of the 20 best items, at least 0\.9 is needed; export .* exact$"
    ):
        bookshop.save(saved, search="approximate")
    assert manifest_of(saved) == before
    monkeypatch.setattr(search_choice, "AUTO_ITEMS", 1)
    with pytest.warns(UserWarning, match=r"^the search is exact: the approximate search finds 0\.600"):
        assert bookshop.save(saved).lists is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "fast"}, r"^search must be exact, approximate or auto, got 'fast'$"),
        ({"recall": 0.5}, r"^recall must be from 0\.9 to below 1, got 0\.5"),
        ({"recall": 1}, r"^recall must be from 0\.9 to below 1, got 1; a recall of 1 is the search exact$"),
        ({"recall": "high"}, r"^recall must be a number, got 'high'$"),
        ({"search": "approximate"}, rf"needs at least {MIN_ITEMS} items, the model has 12; choose exact"),
    ],
)
def test_wrong_options_are_refused(
    shop: Recommender, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        shop.save(tmp_path / "m", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "m").exists()


def test_a_missing_faiss_is_named_when_a_model_is_saved_and_loaded(
    bookshop: Recommender, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"needs faiss: pip install \"reprise\[faiss\]\"$"):
        bookshop.save(tmp_path / "m", search="approximate")
    with pytest.raises(
        ArtefactError, match=r"search\.faiss needs faiss: pip install \"reprise\[faiss\]\", or export"
    ):
        Recommender.load(saved)


def test_faiss_is_imported_for_approximate_searches_only(
    bookshop: Recommender, saved_once: Path, tmp_path: Path
) -> None:
    bookshop.save(tmp_path / "exact")
    program = (
        "import sys; from reprise import Recommender; Recommender.load(sys.argv[1]).recommend([1]); "
        "print('faiss' in sys.modules)"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
        ).stdout
        for path in (tmp_path / "exact", saved_once)
    ]
    assert [text.strip() for text in printed] == ["False", "True"]


def test_an_index_of_other_vectors_is_refused(bookshop: Recommender, saved: Path, tmp_path: Path) -> None:
    """All checksums of files are correct."""
    artefact = bookshop.artefact
    other = replace(artefact, tensors={**artefact.tensors, OUTPUT: -artefact.output_ID})
    facts = search_choice.with_search(other, None, "approximate")
    assert facts.lists is not None
    facts.lists.write(tmp_path / "other.faiss")
    metadata = {**manifest_of(saved)["facts"], SEARCH: facts.metadata[SEARCH]}
    rewrite(saved, facts=metadata, files={LISTS: (tmp_path / "other.faiss").read_bytes()})
    with pytest.raises(
        ArtefactError, match=r"search\.faiss was built from other vectors than those in vectors\.safetens"
    ):
        Recommender.load(saved)


def test_a_damaged_or_missing_index_is_named(saved: Path) -> None:
    data = (saved / LISTS).read_bytes()
    (saved / LISTS).write_bytes(data[:-1])
    with pytest.raises(
        ArtefactError, match=rf"search\.faiss has {len(data) - 1} bytes instead of {len(data)}; copy"
    ):
        Recommender.load(saved)
    (saved / LISTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtefactError, match=r"search\.faiss was changed after it was saved"):
        Recommender.load(saved)
    (saved / LISTS).unlink()
    with pytest.raises(ArtefactError, match=r"search\.faiss is missing; copy the whole directory again"):
        Recommender.load(saved)


def test_a_file_that_is_not_an_index_is_refused(saved: Path) -> None:
    rewrite(saved, files={LISTS: b"not an index"})
    with pytest.raises(ArtefactError, match=r"search\.faiss is not an index .*; export the model again$"):
        Recommender.load(saved)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("read lists", 0, "'read lists' of the search is 0, not a number of at least 1"),
        ("candidates", "many", "'candidates' of the search is 'many', not a number"),
        ("vectors", None, "the search has no checksum of its vectors"),
    ],
)
def test_facts_that_the_search_needs_are_checked(saved: Path, name: str, value: object, message: str) -> None:
    facts = manifest_of(saved)["facts"]
    rewrite(saved, facts={**facts, SEARCH: {**facts[SEARCH], name: value}})
    with pytest.raises(ArtefactError, match=message):
        Recommender.load(saved)
