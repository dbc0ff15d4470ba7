"""Text: words or characters by the data, any language, unknown words, and encoders named by their class."""

import numpy as np
import pytest
from item_shops import features, fitted

from reprise.content import Text
from reprise.errors import ConfigError, DataError

TITLES = [
    "red cotton dress",
    "blue cotton dress",
    "red wool scarf",
    "blue wool scarf",
    "green silk scarf of wool",
]


class Lengths:
    """An encoder whose vector is the length of a text and a constant."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, texts: list[str]) -> np.ndarray:
        return np.array([[len(text) * self.scale, 1.0] for text in texts])


class NotFinite:
    """An encoder that returns NaN."""

    def __call__(self, texts: list[str]) -> np.ndarray:
        return np.full((len(texts), 2), np.nan)


class NoEncoder:
    """A class whose objects are not callable."""


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


@pytest.mark.parametrize("encoder", ["words", "characters"])
@pytest.mark.parametrize("size", [2, 128])
def test_similar_texts_have_similar_features(encoder: str, size: int) -> None:
    found = features(fitted(Text("title", encoder=encoder, size=size), TITLES), TITLES)
    assert cosine(found[0], found[1]) > cosine(found[0], found[3])


def test_words_are_read_if_texts_share_them() -> None:
    assert fitted(Text("title"), TITLES).state()["terms"] == "words"


def test_characters_are_read_if_texts_share_no_words() -> None:
    names = [
        f"{stem}{ending}"
        for stem in ("lampen", "spiegel", "tisch")
        for ending in ("schirm", "rahmen", "platte")
    ]
    assert fitted(Text("title"), names).state()["terms"] == "characters"
    emoji = ["🎲🎲", "🎲🎯", "🎯🎯"]
    assert fitted(Text("title"), emoji).state()["terms"] == "characters"


@pytest.mark.parametrize(
    "texts",
    [
        ["红色 连衣裙", "蓝色 连衣裙"],
        ["красное платье", "синее платье"],
        ["فستان أحمر", "فستان أزرق"],
        ["é e\u0301", "é"],
    ],
)
def test_any_language_is_read(texts: list[str]) -> None:
    found = features(fitted(Text("title"), texts), texts)
    assert found.any(axis=1).all() and cosine(found[0], found[1]) > 0


def test_case_does_not_count() -> None:
    column = fitted(Text("title"), TITLES)
    assert features(column, ["RED Cotton"]).tolist() == features(column, ["red cotton"]).tolist()


def test_empty_text_and_unknown_words_have_no_features() -> None:
    column = fitted(Text("title"), TITLES)
    assert features(column, ["", "  ", None, "zzz"]).any() == np.False_


def test_a_list_of_tags_is_read_as_one_text() -> None:
    column = fitted(Text("tags"), [["red", "dress"], ["red"], ["dress", None], None])
    assert features(column, [["red", "dress"]]).tolist() == features(column, ["red dress"]).tolist()


def test_texts_of_unknown_words_give_a_warning() -> None:
    with pytest.warns(UserWarning, match="column 'title': 95% of the texts have no known word"):
        fitted(Text("title", encoder="words"), ["one", "one", *(f"word{row}" for row in range(38))])


def test_numbers_are_refused_as_text() -> None:
    with pytest.raises(
        DataError, match="column 'title' of the item table holds values of type int64, not text"
    ):
        fitted(Text("title"), [1, 2])


def test_text_without_a_word_is_refused_as_words() -> None:
    with pytest.raises(DataError, match="column 'title' has no text with a word"):
        fitted(Text("title", encoder="words"), ["!!", "??"])


def test_an_encoder_class_is_called_with_its_options() -> None:
    spec = Text("title", encoder=f"{__name__}:Lengths", options={"scale": 2.0})
    column = fitted(spec, ["a", "bb", None])
    assert features(column, ["ccc", "", None]) == pytest.approx(
        np.array([[6, 1], [0, 0], [0, 0]]) / np.sqrt(37), abs=1e-6
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"encoder": "wrds"}, "did you mean 'words'"),
        ({"options": {"a": 1}}, "options are the arguments of an encoder class"),
        ({"ngrams": (3, 2)}, "ngrams must be the smallest and the largest"),
        ({"encoder": f"{__name__}:Length"}, "did you mean 'Lengths'"),
        (
            {"encoder": f"{__name__}:Lengths", "options": {"scaling": 1}},
            "Lengths cannot be created: .* unexpected keyword argument 'scaling'",
        ),
        ({"encoder": f"{__name__}:np"}, "np is not an encoder"),
        ({"encoder": f"{__name__}:NoEncoder"}, "NoEncoder is not an encoder"),
        ({"encoder": "reprise.atomic_files:write_text"}, "write_text is not an encoder"),
        ({"encoder": "reprise:Recurrent"}, "Recurrent is not an encoder"),
    ],
)
def test_a_wrong_encoder_is_refused(changed: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fitted(Text("title", **changed), TITLES)


def test_an_encoder_that_returns_nan_is_named() -> None:
    with pytest.raises(DataError, match="returns NaN or infinite numbers for 'red cotton dress'"):
        fitted(Text("title", encoder=f"{__name__}:NotFinite"), TITLES)
