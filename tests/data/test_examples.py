"""The bundled example log matches its README."""

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.data.description import describe
from reprise.data.examples import online_retail
from reprise.data.preparing.prepare import prepare


def test_the_example_is_small_and_its_readme_names_author_and_licence() -> None:
    events, items = online_retail()
    assert events.stat().st_size + items.stat().st_size < 3_000_000
    readme = (events.parent / "README.md").read_text()
    for text in (
        "Chen, D. (2015)",
        "https://doi.org/10.24432/C5BW33",
        "Creative Commons Attribution 4.0",
        "**Changes.**",
    ):
        assert text in readme


def test_the_example_contains_purchases_of_products_by_known_customers() -> None:
    events, items = (pq.read_table(path) for path in online_retail())
    assert events.column_names == ["user_id", "item_id", "timestamp", "kind", "value", "session_id"]
    assert events.column("user_id").null_count == 0
    assert set(events.column("kind").unique().to_pylist()) == {"purchase"}
    assert pc.min(events.column("value")).as_py() > 0
    assert pc.all(pc.match_substring_regex(items.column("item_id"), r"^\d{5}")).as_py()
    assert set(events.column("item_id").unique().to_pylist()) == set(items.column("item_id").to_pylist())
    assert items.column("title").null_count == 0


def test_the_example_is_prepared_without_column_names(tmp_path: Path) -> None:
    events, items = online_retail()
    facts = describe(prepare(events, tmp_path / "shop", items=items, split="last:14d,14d"))
    assert facts["sequences"] > 4_000
    assert facts["items"]["ids"] == "string"
    assert facts["tied_share"] > 0.9
    assert facts["warnings"][0].endswith(
        "have the same time as the event before them; these keep the order of the input"
    )
