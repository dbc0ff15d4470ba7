import pyarrow as pa
import pytest

from reprise.errors import DataError
from reprise.recommender.items.catalogue import Catalogue


@pytest.fixture
def goods() -> Catalogue:
    table = pa.table({"item_id": ["tea", "cup", "pot"], "count": [6, 2, 0], "title": ["Tea", None, "Pot"]})
    return Catalogue(table, warm=2)


def test_the_title_of_an_item_without_one_is_none(goods: Catalogue) -> None:
    assert [goods.title(index) for index in (1, 2, 3)] == ["Tea", None, "Pot"]


def test_without_a_title_column_every_title_is_none() -> None:
    untitled = Catalogue(pa.table({"item_id": [7, 8], "count": [1, 1]}), warm=2)
    assert [untitled.title(index) for index in (1, 2)] == [None, None]


def test_unknown_and_cold_items_are_padding(goods: Catalogue) -> None:
    assert goods.indices(["cup", "jam", "pot", "tea"]).tolist() == [2, 0, 0, 1]


def test_an_unknown_item_names_the_nearest_known_one(goods: Catalogue) -> None:
    with pytest.raises(DataError, match=r"^unknown item 'cupp'; did you mean 'cup'\?$"):
        goods.index("cupp")


def test_an_unknown_item_without_a_similar_one_does_not_list_the_catalogue(goods: Catalogue) -> None:
    with pytest.raises(DataError, match=r"^unknown item 'zzzz'; the catalogue has 3 items$"):
        goods.index("zzzz")


def test_the_error_for_a_cold_item_explains_the_missing_vector(goods: Catalogue) -> None:
    with pytest.raises(
        DataError, match=r"^item 'pot' has no vector: it does not occur in the training part of the log; "
    ):
        goods.index("pot")


@pytest.mark.parametrize(
    ("wrong", "kind"), [(17, "int"), (None, "NoneType"), (["tea"], "list"), (b"tea", "bytes")]
)
def test_an_id_of_another_type_is_an_error(goods: Catalogue, wrong: object, kind: str) -> None:
    with pytest.raises(
        DataError, match=f"is of type {kind}, the ids of this model are strings; pass ids of that type$"
    ):
        goods.indices(["tea", wrong])  # type: ignore[list-item]


def test_a_string_is_not_an_integer_id() -> None:
    numbered = Catalogue(pa.table({"item_id": [7, 8], "count": [1, 1]}), warm=2)
    with pytest.raises(
        DataError,
        match=r"^item id '7' is of type str, the ids of this model are integers; pass ids of that type$",
    ):
        numbered.indices(["7"])
