"""The bundled log is what its README says."""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.data.description import describe
from reprise.data.examples import online_retail
from reprise.data.preparing.prepare import prepare


def test_it_is_small_enough_to_ship_and_names_its_author() -> None:
    events, items = online_retail()
    assert events.stat().st_size + items.stat().st_size < 3_000_000
    readme = (events.parent / "README.md").read_text()
    for words in (
        "Chen, D. (2015)",
        "https://doi.org/10.24432/C5BW33",
        "Creative Commons Attribution 4.0",
        "**Changes.**",
    ):
        assert words in readme


def test_it_holds_purchases_of_products_by_known_customers() -> None:
    events, items = (pq.read_table(path) for path in online_retail())
    assert events.column_names == ["user_id", "item_id", "timestamp", "kind", "value", "session_id"]
    assert events.column("user_id").null_count == 0
    assert set(events.column("kind").unique().to_pylist()) == {"purchase"}
    assert pc.min(events.column("value")).as_py() > 0
    assert pc.all(pc.match_substring_regex(items.column("item_id"), r"^\d{5}")).as_py()
    assert set(events.column("item_id").unique().to_pylist()) == set(items.column("item_id").to_pylist())
    assert items.column("title").null_count == 0


def test_it_prepares_without_a_word_about_columns(tmp_path: Path) -> None:
    events, items = online_retail()
    said = describe(prepare(events, tmp_path / "shop", items=items, split="last:14d,14d"))
    assert said["sequences"] > 4_000
    assert said["items"]["ids"] == "string"
    assert said["tied_share"] > 0.9
    assert said["warnings"][0].endswith(
        "share their time with the one before; these keep the order of the input"
    )
