"""Tables of results, and one HTML page with them that needs no other file and no script."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from reprise.feedback.click_rates import ClickRate
from reprise.feedback.feedback_analysis import CandidateEstimate, Feedback
from reprise.feedback.user_ratios import RatioEstimate

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } p { max-width: 45rem; }
div { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
.number { text-align: right; } tbody tr:hover { background: var(--soft); }
"""


FEW_CHOICES = 100
"""Effective number of choices below which an interval is too narrow."""


class ResultTable(NamedTuple):
    """A table of results with its explanation."""

    title: str
    """Heading of the table."""
    headers: tuple[str, ...]
    """Names of the columns."""
    rows: list[tuple[object, ...]]
    """Values of the rows: text and numbers."""
    note: str = ""
    """What the table shows, and what to conclude from it."""


def feedback_tables(found: Feedback) -> list[ResultTable]:
    """Return the tables of an analysis."""
    percent = f"{found.level:.0%}"
    tables = [
        ResultTable(
            "What was recommended",
            ("fact", "value"),
            [
                ("first answer", found.first or "-"),
                ("last answer", found.last or "-"),
                ("answers", f"{found.answers:,}"),
                ("users", f"{found.users:,}"),
                ("impressions", f"{found.impressions:,}"),
                ("impressions with a response", f"{found.responses:,}"),
                ("events that match no impression", f"{found.unmatched:,}"),
            ],
        )
    ]
    for name, rates in (("model", found.models), ("variant", found.variants)):
        if rates:
            note = f"{percent} intervals over users. Models that served different users or times are not comparable."
            total = [rate for rate in rates if rate.position is None]
            tables.append(_rate_table(f"Click rate by {name}", name, total, note))
            places = [rate for rate in rates if rate.position is not None]
            tables.append(_rate_table(f"Click rate by {name} and position", name, places, ""))
    if found.tests:
        tables.append(_test_table(found, percent))
    if found.candidate is not None:
        tables.append(_candidate_table(found.candidate))
    return tables


def _candidate_table(found: CandidateEstimate) -> ResultTable:
    few = found.chosen.effective < FEW_CHOICES
    left = (
        f" {found.left_out:,} impressions have no user with events and do not count."
        if found.left_out
        else ""
    )
    rows: list[tuple[object, ...]] = [
        (
            name, "-" if one.snips is None else percentages(one.snips), one.choices if one is found.every else "-",
            f"{one.effective:.0f}",
        )
        for name, one in ((f"its best {found.top}", found.chosen), ("all that could be drawn", found.every))
    ]  # fmt: skip
    rows.append(("difference", "-" if found.difference is None else percentages(found.difference), "-", "-"))
    return ResultTable(
        "Candidate model, from explored items",
        ("items", "response rate (SNIPS)", "impressions", "effective"),
        rows,
        f"How often users respond to explored items that the candidate ranks among its best {found.top}."
        + (" There are too few of them: the interval is too narrow." if few else "")
        + left,
    )


def _rate_table(title: str, name: str, rates: list[ClickRate], note: str) -> ResultTable:
    by_position = any(rate.position is not None for rate in rates)
    return ResultTable(
        title,
        (name, "position" if by_position else "kind", "rate", "impressions", "responses", "users"),
        [
            (
                rate.group, rate.position if by_position else rate.kind or "any", percentages(rate.rate),
                rate.impressions, rate.responses, rate.users,
            )
            for rate in rates
        ],
        note,
    )  # fmt: skip


def _test_table(found: Feedback, percent: str) -> ResultTable:
    note = (
        f"Responses per user. The {percent} intervals hold at all daily looks together, so the test may be stopped as soon "
        "as a difference is shown."
    )
    if found.mixed_users:
        note += f" {found.mixed_users:,} users had several variants and do not count."
    if found.split_p_value is not None:
        fits = "fit" if found.split_p_value >= 0.001 else "do not fit"
        note += f" The numbers of users {fits} the split (p = {found.split_p_value:.2g})."
    return ResultTable(
        "A/B test",
        ("variants", "users", "means", "difference", "p value", "looks", "result"),
        [
            (
                f"{one.second} - {one.first}", f"{one.users[1]:,} / {one.users[0]:,}",
                "-" if one.means is None else f"{one.means[1]:.4f} / {one.means[0]:.4f}",
                str(one.difference or "-"), f"{one.p_value:.2g}", one.looks,
                "a difference is shown" if one.decided
                else "no difference shown yet" if one.looks else "too few users yet",
            )
            for one in found.tests
        ],
        note,
    )  # fmt: skip


def percentages(estimate: RatioEstimate) -> str:
    """Format a rate with its interval in percent."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2%}"
    return f"{estimate.value:.2%} [{estimate.low:.2%}, {estimate.high:.2%}]"


def html_page(title: str, tables: Sequence[ResultTable]) -> str:
    """Return an HTML page with tables. All text is escaped."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>",
    ]
    for table in tables:
        parts.append(f"<section><h2>{escape(table.title)}</h2>")
        if table.note:
            parts.append(f"<p>{escape(table.note)}</p>")
        # a region that scrolls must be reachable by the keyboard
        parts.append(f'<div role="region" tabindex="0" aria-label="{escape(table.title)}"><table><thead><tr>')
        parts += [f'<th scope="col">{escape(header)}</th>' for header in table.headers]
        parts.append("</tr></thead><tbody>")
        parts += [f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows]
        parts.append("</tbody></table></div></section>")
    return "\n".join([*parts, "</main></body></html>", ""])


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    if isinstance(value, float):
        return f'<td class="number">{value:.4f}</td>'
    return f"<td>{escape(str(value))}</td>"
