"""The command `reprise feedback`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from reprise.server import Answer, ShownItem, SQLiteStore, User, UserEvent

Run = Callable[..., Result]
Fails = Callable[..., str]
DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with 300 users, one answer each; users of variant b click twice as often: 2 of 5 instead of 1 of 5."""
    path = tmp_path_factory.mktemp("feedback") / "events.db"
    store = SQLiteStore(path)
    items = (ShownItem("<p1>", 2.0), ShownItem("p2", 1.0, 0.25))
    answers, events = [], []
    for number in range(300):
        variant, user, time_ms = "ab"[number % 2], User("default", f"u{number}"), START_MS + number
        answers.append(
            Answer(f"r{number}", time_ms, "default", user, f"m-{variant}", variant, "recommend", items)
        )
        if number // 2 % 5 <= number % 2:
            events.append((user, UserEvent("<p1>", time_ms + 5, "buy", recommendation_id=f"r{number}")))
    store.append_answers(answers)
    store.append(events)
    store.close()
    return f"sqlite:///{path}"


def test_click_rates_and_the_test_are_shown_and_written(reprise: Run, log: str, tmp_path: Path) -> None:
    page, file = tmp_path / "feedback.html", tmp_path / "feedback.json"
    shown = reprise("feedback", "--store", log, "--html", page, "--json", file, "--split", "50,50")
    assert shown.exit_code == 0, shown.output
    for text in ("10.00%", "20.00%", "b - a", "150 / 150", "The numbers of users fit the split (p = 1)"):
        assert text in shown.output and text in page.read_text()
    found = json.loads(file.read_text())
    assert (found["answers"], found["responses"], found["unmatched"]) == (300, 30 + 60, 0)
    total = found["variants"][0]
    assert (total["group"], total["impressions"], total["rate"]["value"]) == ("a", 300, 30 / 300)
    assert found["tests"][0]["means"] == [30 / 150, 60 / 150]
    assert found["tests"][0]["difference"]["value"] == pytest.approx(1 / 5)


def test_events_without_an_id_count_only_by_item(reprise: Run, tmp_path: Path) -> None:
    """The user saw p1 twice. One event names the first answer, and one names none; the first event counts only once."""
    store, user = SQLiteStore(tmp_path / "events.db"), User("default", "anna")
    for number in range(2):
        shown = (ShownItem("p1", 1.0),)
        store.append_answers(
            [Answer(f"r{number}", START_MS + number, "default", user, "m", None, "recommend", shown)]
        )
    store.append([(user, UserEvent("p1", START_MS + 5, recommendation_id="r0"))])
    file, words = tmp_path / "found.json", ("feedback", "--store", f"sqlite:///{tmp_path / 'events.db'}")
    reprise(*words, "--by-item", "--json", file)
    assert json.loads(file.read_text())["responses"] == 1
    store.append([(user, UserEvent("p1", START_MS + 9))])
    store.close()
    counts = []
    for options in ((), ("--by-item",)):
        reprise(*words, *options, "--json", file)
        counts.append(json.loads(file.read_text())["responses"])
    assert counts == [1, 2]


def test_a_candidate_is_estimated_from_explored_items(
    reprise: Run, fails: Fails, log: str, shop: Path, tmp_path: Path
) -> None:
    """An item is drawn with the probability 1/4 by user u1, and with 1/2 by u2; both know item 1, and only u2 responds."""
    store = SQLiteStore(tmp_path / "events.db")
    for number, (item, propensity) in enumerate([("1", 0.25), ("2", 0.5)], 1):
        user = User("default", f"u{number}")
        store.append([(user, UserEvent("0", START_MS - 5))])
        shown = (ShownItem(item, 1.0, propensity),)
        store.append_answers([Answer(f"r{number}", START_MS, "default", user, "m", None, "recommend", shown)])
    store.append([(user, UserEvent("2", START_MS + 5, recommendation_id="r2"))])
    store.close()
    file, words = tmp_path / "found.json", ("--candidate", shop / "model", "--top", 40)
    shown_text = reprise(
        "feedback", "--store", f"sqlite:///{tmp_path / 'events.db'}", *words, "--json", file
    ).output
    assert "its best 40" in shown_text and "too few" in shown_text
    candidate = json.loads(file.read_text())["candidate"]
    assert candidate["chosen"]["snips"]["value"] == pytest.approx(2 / (4 + 2))
    assert candidate["difference"]["value"] == 0, "the candidate ranks all items"
    message = fails("feedback", "--store", log, "--candidate", shop / "model")
    assert "no explored impression has a user with events" in message


def test_a_page_needs_no_other_file(reprise: Run, log: str, tmp_path: Path) -> None:
    reprise("feedback", "--store", log, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "http" not in page and "<script" not in page and 'src="' not in page


def test_other_kinds_and_periods_count_separately(reprise: Run, log: str, tmp_path: Path) -> None:
    file = tmp_path / "feedback.json"
    reprise("feedback", "--store", log, "--kind", "view", "--json", file)
    assert json.loads(file.read_text())["tests"][0]["means"] == [0, 0]
    reprise("feedback", "--store", log, "--window", "1ms", "--json", file)
    assert json.loads(file.read_text())["responses"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tenant", "other"), "has no answers of the tenant 'other' in this period"),
        (("--since", "2100-01-01"), "has no answers of the tenant 'default' in this period"),
        (("--window", "soon"), "soon"),
        (("--split", "50"), "shares"),
        (("--html", "missing/page.html"), "does not exist"),
    ],
)
def test_wrong_arguments_are_explained(fails: Fails, log: str, words: tuple[str, ...], message: str) -> None:
    assert message in fails("feedback", "--store", log, *words)


def test_a_missing_store_is_not_created(fails: Fails, tmp_path: Path) -> None:
    assert "no event log at" in fails("feedback", "--store", f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
