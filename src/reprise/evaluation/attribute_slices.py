"""Slices by the attributes of items: groups of targets with the same category in a column of the item table.

Shape letters: N targets, I items of the table.
"""

from collections.abc import Iterator

import numpy as np

from reprise.arrays import AnyArray, BoolArray
from reprise.content.column_detection import detect_columns
from reprise.content.columns.category_column import Category
from reprise.content.table_rows import TableRows
from reprise.data.dataset import SequenceDataset

MAX_COLUMNS = 3
"""Maximum number of columns: each slice takes room in the report, and one more correction in a comparison."""
MAX_VALUES = 6
"""Maximum number of categories of a column with a slice of their own, those of the most targets."""
MAX_LENGTH = 40
"""Maximum number of characters of a category in the name of its slice."""
MAX_DISTINCT = 200
"""Columns with more categories are left out: the largest ones would say little about the rest."""


def attribute_masks(dataset: SequenceDataset, item_N: AnyArray) -> Iterator[tuple[str, dict[str, BoolArray]]]:
    """Yield the columns of the item table whose categories divide the targets, with a mask of targets for each slice.

    A slice is named `column=category`. A target whose item has several categories, such as the genres of a film, is in
    several slices. Targets with other categories only are in `column: others`, those without a category in
    `column: none`.

    Args:
        dataset: The dataset with the item table.
        item_N: Item index of each target, 1..I.
    """
    specs = [spec for spec in detect_columns(dataset.table) if isinstance(spec, Category)]
    found = 0
    for spec in specs:
        masks = _masks(spec, dataset, item_N - 1)
        if len(masks) > 1:
            yield spec.column, masks
            found += 1
        if found == MAX_COLUMNS:
            return


def _masks(spec: Category, dataset: SequenceDataset, place_N: AnyArray) -> dict[str, BoolArray]:
    """Return the slices of a column that have targets; none if it has too many categories."""
    rows = TableRows(dataset.table)
    lists = rows.words(spec.column, rows.word_form(spec.column, spec.separator), spec.separator)
    if len(lists.words) > MAX_DISTINCT:
        return {}
    targets_I = np.bincount(place_N, minlength=len(rows))
    targets_V = np.bincount(lists.code_N, weights=targets_I[lists.row_N], minlength=len(lists.words))
    largest = np.argsort(-targets_V, kind="stable")[:MAX_VALUES]
    masks: dict[str, BoolArray] = {}
    for code in largest[targets_V[largest] > 0]:
        name = f"{spec.column}={_shortened(lists.words[code])}"
        own_N = _has(lists.row_N[lists.code_N == code], place_N, rows)
        masks[name] = masks[name] | own_N if name in masks else own_N
    any_N = _has(lists.row_N, place_N, rows)
    large_N = _has(lists.row_N[np.isin(lists.code_N, largest)], place_N, rows)
    masks |= {f"{spec.column}: others": any_N & ~large_N, f"{spec.column}: none": ~any_N}
    return {name: mask_N for name, mask_N in masks.items() if mask_N.any()}


def _shortened(word: str) -> str:
    return word if len(word) <= MAX_LENGTH else word[: MAX_LENGTH - 3] + "..."


def _has(row_V: AnyArray, place_N: AnyArray, rows: TableRows) -> BoolArray:
    """Return a mask of the targets whose items are among these rows of the table."""
    chosen_I = np.zeros(len(rows), dtype=bool)
    chosen_I[row_V] = True
    mask_N: BoolArray = chosen_I[place_N]
    return mask_N
