"""Tables for notebooks: small HTML with a style of its own that suits light and dark pages."""

from collections.abc import Iterable, Sequence
from html import escape

MAX_ROWS = 20
"""Largest number of rows of a table; the number of the others follows."""
STYLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;background:transparent;color:inherit"
CELL = "padding:.2em .8em .2em 0;text-align:left;border-bottom:1px solid rgba(128,128,128,.35);background:transparent"


def html_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML. All texts are escaped.

    Args:
        title: Text above the table.
        headers: Names of the columns; empty: no line of headers.
        rows: Values of the cells. The first cell of a row is its name.
    """
    given = [*rows]
    head = "".join(f'<th scope="col" style="{CELL}">{escape(name)}</th>' for name in headers)
    body = "".join(
        "<tr>"
        + f'<th scope="row" style="{CELL};font-weight:500">{escape(str(row[0]))}</th>'
        + "".join(f'<td style="{CELL}">{escape(_cell(value))}</td>' for value in row[1:])
        + "</tr>"
        for row in given[:MAX_ROWS]
    )
    more = f"<p>and {len(given) - MAX_ROWS:,} more rows</p>" if len(given) > MAX_ROWS else ""
    top = f"<thead><tr>{head}</tr></thead>" if headers else ""
    return f'<p><b>{escape(title)}</b></p><table style="{STYLE}">{top}<tbody>{body}</tbody></table>{more}'


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
