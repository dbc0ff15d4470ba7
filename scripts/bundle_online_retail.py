"""Write the bundled Online Retail log from the full one.

python scripts/bundle_online_retail.py --events interactions.parquet --items items.parquet
"""

import argparse
from pathlib import Path

import ibis
import ibis.expr.types as ir

from reprise.data.examples import online_retail

LIMIT_BYTES = 3_000_000


def purchases(events: ir.Table, items: ir.Table) -> ir.Table:
    """Return what known customers bought, products only, in the order of the file."""
    products = items.filter(items.is_product).select("item_id")
    lines = events.mutate(line=ibis.row_number())
    bought = lines.filter((lines.event == "purchase") & lines.user_id.notnull()).semi_join(
        products, "item_id"
    )
    return bought.order_by("line").select(
        "user_id",
        "item_id",
        "timestamp",
        kind=bought.event,
        value=(bought.price * bought.quantity).round(2).cast("float32"),
        session_id=bought.session_id,
    )


def main() -> None:
    """Parse the arguments and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    arguments = parser.parse_args()
    database = ibis.duckdb.connect()
    events, items = (database.read_parquet(path) for path in (arguments.events, arguments.items))
    events_path, items_path = online_retail()
    bought = purchases(events, items)
    bought.to_parquet(events_path, compression="zstd", compression_level=19)
    known = items.semi_join(bought, "item_id").order_by("item_id")
    known.select("item_id", "title", price=known.price_median).to_parquet(items_path, compression="zstd")
    size = events_path.stat().st_size + items_path.stat().st_size
    assert size < LIMIT_BYTES, size
    print(f"{events_path.name} and {items_path.name}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
