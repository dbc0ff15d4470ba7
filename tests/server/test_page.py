"""The page, as people use it: a real server, and a real browser without a window."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright
from server_thread import Address, server_thread

from reprise.server.http.app import Authenticator
from reprise.server.http.auth import add_key, read_keys

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
ATTACK = "<img src=x onerror=\"document.title='taken'\">"
ITEMS = [f"p{item}" for item in range(5, 25)]
TITLES = {item: f"Thing {item[1:]}" for item in ITEMS} | {"p7": ATTACK, "p8": f"{'Very' * 30} long"}
WITHIN_MS = 15_000
expect.set_options(timeout=WITHIN_MS)


@pytest.fixture(scope="module")  # its loop runs in this thread, so later tests could have none of their own
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("the page is tested in Chromium, and there is none: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop(second_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """Items with titles, one of which is an attack and one very long, and with prices."""
    with server_thread(second_model, tmp_path_factory.mktemp("page") / "events.db") as shop:
        for price, (item, title) in enumerate(TITLES.items()):
            shop.call("PUT", f"/v1/items/{item}", {"title": title, "price": price})
        yield shop


class Seen:
    """What a page did besides what it showed."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=DESK, reduced_motion="reduce")
    context.set_default_timeout(WITHIN_MS)
    yield context
    context.close()


@pytest.fixture
def seen(context: BrowserContext) -> Seen:
    return Seen(context.new_page())


@pytest.fixture
def page(context: BrowserContext, seen: Seen, shop: Address) -> Page:
    """The page of the shop, with its first answer."""
    (page,) = context.pages
    return opened(page, shop)


def opened(page: Page, shop: Address) -> Page:
    page.goto(shop.url)
    expect(page.locator("#items li").first).to_be_visible()
    settled(page)
    return page


def settled(page: Page) -> None:
    """Wait until the answer to what was done last stands there, with its reasons."""
    expect(page.locator("#items")).to_have_attribute("aria-busy", "false")


def shown(page: Page) -> list[str]:
    """The ids that are recommended, best first."""
    ids = page.locator("#items > li").evaluate_all("rows => rows.map(row => row.dataset.id)")
    return [str(one) for one in ids]


def answered(page: Page, act: Callable[[], object]) -> dict[str, Any]:
    """Do something, and wait until its answer stands there with its reasons; that answer, as the server gave it."""
    explained = lambda answer: answer.url.endswith("/v1/recommend") and "explain" in answer.request.post_data  # noqa: E731
    with page.expect_response(explained) as told:
        act()
    answer: dict[str, Any] = told.value.json()
    settled(page)
    assert shown(page) == [one["item_id"] for one in answer["items"]]
    return answer


def choose(page: Page, user: str) -> None:
    page.get_by_label("A user of the log").check(force=True)
    page.get_by_label("User id").fill(user)
    page.get_by_label("User id").press("Enter")
    expect(page.locator("#forget")).to_be_visible()
    settled(page)


def build(page: Page) -> None:
    page.get_by_label("A history I build").check(force=True)
    expect(page.locator("#user-panel")).to_be_hidden()
    settled(page)


def find(page: Page, text: str) -> None:
    page.get_by_label("Find an item").fill(text)
    expect(page.locator("#found li")).to_have_count(sum(text in title for title in TITLES.values()))


def test_an_event_of_a_user_is_stored_and_the_answer_moves_as_the_api_says(
    page: Page, seen: Seen, shop: Address
) -> None:
    choose(page, "anna/1")
    before = shown(page)
    find(page, "Thing 13")
    answer = answered(page, lambda: page.get_by_role("button", name="Add Thing 13").first.click())
    (event,) = shop.call("GET", "/v1/users/anna%2F1")["events"]
    assert event["item_id"] == "p13"
    assert shown(page) != before
    told = shop.call("POST", "/v1/recommend", {"user_id": "anna/1", "k": 10, "explain": True})
    assert [one["item_id"] for one in told["items"]] == shown(page)
    assert [one["causes"] for one in told["items"]] == [one["causes"] for one in answer["items"]]
    # titles, scores and reasons stand there as told, and so does the time line
    first = page.locator("#items > li").first
    expect(first.locator(".title")).to_contain_text(TITLES[told["items"][0]["item_id"]])
    expect(first.locator(".score")).to_contain_text(
        f"{told['items'][0]['score']:.2f}".replace("-0.00", "0.00")
    )
    (cause,) = told["items"][0]["causes"]
    expect(first.locator(".why .push")).to_have_text(f"{cause['influence']:+.2f}".replace("-", "\u2212"))
    expect(page.locator("#line li")).to_have_count(1)
    expect(page.locator("#line .title")).to_contain_text("Thing 13")
    expect(page.get_by_role("list", name="Newest users").get_by_role("button", name="anna/1")).to_be_visible()
    expect(page.locator("#latency")).to_contain_text("ms")
    assert seen.errors == []
    assert seen.hosts == {shop.url.split("/")[2]}


def test_each_item_says_how_far_it_moved(page: Page) -> None:
    build(page)
    before: list[str] = []
    for place in (0, 2):
        answered(page, lambda place=place: page.locator("#items [data-verb=add]").nth(place).click())  # type: ignore[misc]
        before, now = before or shown(page), shown(page)
    moves = page.locator("#items .move").evaluate_all("all => all.map(one => one.lastChild.textContent)")
    expected = []
    for rank, item in enumerate(now):
        by = before.index(item) - rank if item in before else None
        expected.append("new" if by is None else f"up {by}" if by > 0 else f"down {-by}" if by < 0 else "")
    assert moves == expected
    assert any(expected)
    news = page.locator("#news")
    assert news.get_attribute("aria-live") == "polite"
    for word in ("new", "up", "down"):
        number = sum(move.startswith(word) for move in moves)
        if number:
            expect(news).to_contain_text(f"{number} {word}")
    for item in set(before) - set(now):
        expect(news).to_contain_text("Gone:")
        if len(set(before) - set(now)) <= 3:
            expect(news).to_contain_text(TITLES[item])


def test_pointing_at_an_item_marks_its_causes_on_the_time_line(page: Page) -> None:
    build(page)
    for _ in range(4):
        answer = answered(page, lambda: page.locator("#items [data-verb=add]").first.click())
    page.locator("#items > li").nth(1).hover()
    causes = answer["items"][1]["causes"]
    expect(page.locator("#line .cause")).to_have_count(len({cause["timestamp"] for cause in causes}))
    pushes = page.locator("#line .cause .push").evaluate_all("all => all.map(one => one.textContent)")
    assert sorted(pushes) == sorted(f"{cause['influence']:+.2f}".replace("-", "\u2212") for cause in causes)
    expect(page.locator(".links path")).to_have_count(len(causes))
    page.mouse.move(0, 0)
    expect(page.locator("#line .cause")).to_have_count(0)
    page.locator("#items [data-verb=similar]").nth(1).focus()
    expect(page.locator("#line .cause")).to_have_count(len(causes))


def test_a_history_that_is_built_is_told_and_not_stored(page: Page, shop: Address) -> None:
    users = shop.call("GET", "/v1/users")["users"]
    build(page)
    find(page, "Thing 14")
    answered(page, lambda: page.get_by_role("button", name="Add Thing 14").first.click())
    find(page, "Thing 21")
    answered(page, lambda: page.get_by_role("button", name="Add Thing 21").first.click())
    told = shop.call("POST", "/v1/recommend", {"events": [{"item_id": "p14"}, {"item_id": "p21"}]})
    assert shown(page) == [one["item_id"] for one in told["items"]]
    expect(page.locator("#line .title")).to_have_text(["Thing 21 p21", "Thing 14 p14"])  # the newest first
    page.get_by_role("button", name="Remove Thing 21").click()
    told = shop.call("POST", "/v1/recommend", {"events": [{"item_id": "p14"}]})
    expect(page.locator("#line li")).to_have_count(1)
    expect(page.locator("#items > li").first).to_have_attribute("data-id", told["items"][0]["item_id"])
    assert shop.call("GET", "/v1/users")["users"] == users
    page.get_by_role("button", name="Start anew").click()
    expect(page.locator("#line li")).to_have_count(0)
    expect(page.locator("#items .reason").first).to_contain_text("popular")


def test_a_user_is_forgotten_once_that_is_confirmed(page: Page, shop: Address) -> None:
    shop.call("POST", "/v1/events", {"events": [{"user_id": "ben", "item_id": "p9"}] * 2})
    choose(page, "ben")
    expect(page.locator("#line li")).to_have_count(2)
    page.get_by_role("button", name="Forget this user").click()
    dialog = page.get_by_role("dialog", name="Forget ben?")
    dialog.get_by_role("button", name="Keep").click()
    assert len(shop.call("GET", "/v1/users/ben")["events"]) == 2
    page.get_by_role("button", name="Forget this user").click()
    dialog.get_by_role("button", name="Forget").click()
    expect(page.locator("#proof")).to_contain_text("ben is forgotten, with 2 events. No trace of the id")
    expect(page.locator("#line li")).to_have_count(0)
    assert shop.call("GET", "/v1/users/ben")["events"] == []
    stranger = shop.call("POST", "/v1/recommend", {"events": []})
    expect(page.locator("#items .score").first).to_contain_text(f"{stranger['items'][0]['score']:.2g}")
    settled(page)
    assert shown(page) == [one["item_id"] for one in stranger["items"]]


def test_rules_reach_the_answer_and_their_faults_are_said(page: Page) -> None:
    build(page)
    answered(page, lambda: page.locator("#items [data-verb=add]").first.click())
    page.get_by_label("How many items").fill("4")
    answered(page, lambda: page.get_by_label("How many items").press("Tab"))
    assert len(shown(page)) == 4
    rule = page.get_by_label("Filter by columns")
    rule.fill('{"price": {"max": 2}}')
    answered(page, lambda: rule.press("Enter"))
    assert set(shown(page)) == {"p5", "p6", "p7"}
    fault = page.locator("#filter-error")
    for text, words in (
        ('{"price"', "This is not JSON"),
        ("[1]", "A filter is an object"),
        ('{"colour": 1}', "no column 'colour'"),
    ):
        rule.fill(text)
        rule.press("Enter")
        expect(fault).to_contain_text(words)
        expect(rule).to_have_attribute("aria-invalid", "true")
    rule.fill("")
    answered(page, lambda: rule.press("Enter"))
    expect(fault).to_be_empty()
    denied = shown(page)[0]
    answered(page, lambda: page.locator("#items [data-verb=deny]").first.click())
    assert denied not in shown(page)
    answered(page, lambda: page.locator("#denied button").click())
    assert denied in shown(page)
    past = page.locator("#line code").inner_text()
    page.get_by_label("How many items").fill("1000")
    answered(page, lambda: page.get_by_label("How many items").press("Tab"))
    expect(page.get_by_label("How many items")).to_have_value("100")
    assert sorted(shown(page)) == sorted(ITEMS)
    answered(page, lambda: page.get_by_label("Leave out").check())
    assert past not in shown(page)
    page.get_by_label("Diversity").focus()
    with page.expect_request(
        lambda sent: '"diversity":0.05' in (sent.post_data or "") and "explain" in (sent.post_data or "")
    ):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#diversity-value")).to_have_text("0.05")


def test_a_continuation_is_the_likeliest_or_drawn_and_follows_the_past(page: Page, shop: Address) -> None:
    build(page)
    find(page, "Thing 12")
    page.get_by_role("button", name="Add Thing 12").first.click()
    expect(page.locator("#line li")).to_have_count(1)
    path = page.locator("#path code")
    past = {"events": [{"item_id": "p12"}], "length": 5}
    page.get_by_role("button", name="Go on").click()
    told = shop.call("POST", "/v1/generate", {**past, "beams": 8})
    expect(path).to_have_text([one["item_id"] for one in told["items"]])
    page.get_by_label("Drawn by chance").check(force=True)
    page.get_by_label("Seed").fill("17")
    page.get_by_label("Seed").press("Enter")
    told = shop.call("POST", "/v1/generate", {**past, "seed": 17})
    expect(path).to_have_text([one["item_id"] for one in told["items"]])
    page.locator("#path button").first.click()
    past["events"] = [{"item_id": "p12"}, {"item_id": told["items"][0]["item_id"]}]
    told = shop.call("POST", "/v1/generate", {**past, "seed": 17})
    expect(path).to_have_text([one["item_id"] for one in told["items"]])


def test_similar_items_can_be_added(page: Page, shop: Address) -> None:
    build(page)
    item = shown(page)[0]
    page.locator("#items [data-verb=similar]").first.click()
    told = shop.call("POST", "/v1/similar", {"item_id": item, "k": 8})
    rows = page.locator("#similar-items")
    expect(rows.locator("code")).to_have_text([one["item_id"] for one in told["items"]])
    answered(page, lambda: rows.get_by_role("button").nth(1).click())
    expect(page.locator("#similar")).to_be_hidden()
    expect(page.locator("#line code")).to_have_text(told["items"][1]["item_id"])


def test_the_keyboard_alone_is_enough(page: Page, shop: Address) -> None:
    keys = page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(80):
            keys.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"the focus never came to {selector}")

    page.evaluate("document.activeElement.blur()")
    keys.press("Tab")
    expect(page.get_by_role("link", name="To the answer")).to_be_focused()
    tab_to('[name="mode"]')
    # the other one of two, and perhaps back again
    keys.press("ArrowLeft")
    if not page.get_by_label("A user of the log").is_checked():
        keys.press("ArrowLeft")
    expect(page.get_by_label("A user of the log")).to_be_checked()
    tab_to("#user")
    keys.press("Control+A")
    keys.type("carla")
    keys.press("Enter")
    expect(page.locator("#now-words")).to_contain_text("nothing is stored")
    shop.call("POST", "/v1/events", {"events": [{"user_id": "known", "item_id": "p9"}]})
    page.reload()
    tab_to('#users [aria-pressed="true"]')
    keys.press("Enter")
    expect(page.locator("#line li")).to_have_count(1)
    expect(page.locator('#users [aria-pressed="true"]')).to_be_focused()
    page.locator("#user").fill("carla")
    keys.press("Enter")
    expect(page.locator("#now-words")).to_contain_text("nothing is stored")
    tab_to("#search")
    keys.type("Thing 16")
    expect(page.locator("#found li")).to_have_count(1)
    tab_to("#found button")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus cannot be seen"
    answered(page, lambda: keys.press("Enter"))
    tab_to("#items [data-verb=add]")
    item = page.evaluate("document.activeElement.closest('li').dataset.id")
    answered(page, lambda: keys.press("Enter"))
    events = shop.call("GET", "/v1/users/carla")["events"]
    assert [event["item_id"] for event in events] == ["p16", item]
    # the focus is not lost when the answer moves
    assert page.evaluate("document.activeElement.dataset.verb") == "add"
    keys.press("Shift+Tab")
    tab_to("#items [data-verb=similar]")
    keys.press("Enter")
    expect(page.locator("#similar")).to_be_visible()
    keys.press("Escape")
    expect(page.locator("#similar")).to_be_hidden()
    tab_to("#rules #k")
    tab_to("#path-form button")
    keys.press("Enter")
    expect(page.locator("#path li")).to_have_count(5)
    tab_to("#path button")
    answered(page, lambda: keys.press("Enter"))
    assert page.evaluate("document.activeElement.closest('#path') !== null")
    page.locator("#forget").focus()
    keys.press("Enter")
    expect(page.get_by_role("button", name="Keep")).to_be_focused()
    keys.press("Tab")
    keys.press("Enter")
    expect(page.locator("#proof")).to_be_focused()


def test_a_title_with_markup_in_it_stays_text_everywhere(page: Page, seen: Seen) -> None:
    build(page)
    find(page, "onerror")
    found = page.locator("#found .title")
    expect(found).to_have_text(f"{ATTACK} p7")
    page.locator("#found button").click()
    expect(page.locator("#line .title")).to_have_text(f"{ATTACK} p7")
    expect(page.locator("#items .because").first).to_have_text(ATTACK)
    answered(page, lambda: page.get_by_label("How many items").fill("20") or page.keyboard.press("Tab"))
    row = page.locator('#items > li[data-id="p7"]')
    expect(row.locator(".title")).to_have_text(f"{ATTACK} p7")
    row.locator("[data-verb=similar]").click()
    expect(page.locator("#similar-head")).to_have_text(f"Like {ATTACK}")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Go on").click()
    row.locator("[data-verb=deny]").click()
    expect(page.locator("#denied button")).to_contain_text(ATTACK)
    choose(page, ATTACK)
    find(page, "Thing 13")
    page.get_by_role("button", name="Add Thing 13").first.click()
    expect(page.locator('#users [aria-pressed="true"]')).to_have_text(ATTACK)
    assert page.locator("img").count() == 0
    assert page.title() == "Reprise, live"
    assert seen.errors == []


def test_an_older_answer_never_replaces_a_newer_one(page: Page) -> None:
    build(page)
    held: list[Route] = []
    # the first question is held back until the second one is answered
    page.route("**/v1/recommend", lambda route: route.continue_() if held else held.append(route), times=None)
    page.locator("#items [data-verb=add]").first.click()
    expect(page.locator("#line li")).to_have_count(1)
    answer = answered(page, lambda: page.locator("#items [data-verb=add]").nth(3).click())
    assert answer["events"] == 2
    newer = shown(page)
    stale = [{**one, "title": "stale"} for one in reversed(answer["items"])]
    try:
        held[0].fulfill(json={**answer, "items": stale})
    except Exception as error:  # the browser gave that question up
        assert "abort" in str(error).lower() or "handled" in str(error).lower(), error
    page.wait_for_timeout(200)
    assert shown(page) == newer
    expect(page.locator("#items").get_by_text("stale")).to_have_count(0)


def test_the_list_says_that_it_is_about_to_change(page: Page) -> None:
    build(page)
    rows, again = page.locator("#items"), page.get_by_role("button", name="Ask again")
    held: list[Route] = []
    page.route("**/v1/recommend", lambda route: held.append(route))
    for asked in (1, 2):  # the second question ends the first, and the list still waits
        again.click()
        while len(held) < asked:
            page.wait_for_timeout(10)
        expect(rows).to_have_attribute("aria-busy", "true")
    full = {"code": "overloaded", "message": "too much waits already", "hint": None}
    held[1].fulfill(status=429, json={"error": full})
    settled(page)  # a refusal is an answer too
    expect(page.locator("#trouble")).to_contain_text("Too much waits already.")


def test_clicks_in_a_row_are_events_in_that_order(page: Page, shop: Address) -> None:
    choose(page, "dora")
    clicked = shown(page)[:5]
    page.evaluate(
        "for (const button of [...document.querySelectorAll('#items [data-verb=add]')].slice(0, 5)) button.click()"
    )
    expect(page.locator("#line li")).to_have_count(5)
    assert [event["item_id"] for event in shop.call("GET", "/v1/users/dora")["events"]] == clicked
    settled(page)
    told = shop.call("POST", "/v1/recommend", {"user_id": "dora"})
    assert shown(page) == [one["item_id"] for one in told["items"]]


def test_trouble_is_said_in_words_and_taken_back(page: Page) -> None:
    build(page)
    trouble = page.locator("#trouble")
    assert trouble.get_attribute("aria-live") == "assertive"
    problem = {"code": "overloaded", "message": "too much waits already", "hint": "send less"}
    page.route("**/v1/recommend", lambda route: route.fulfill(status=429, json={"error": problem}), times=1)
    page.get_by_role("button", name="Ask again").click()
    expect(trouble).to_contain_text("Too much waits already. Send less.")
    answered_again = page.get_by_role("button", name="Ask again")
    answered_again.click()
    expect(trouble).to_be_empty()
    page.route("**/v1/recommend", lambda route: route.abort(), times=1)
    answered_again.click()
    expect(trouble).to_contain_text("The server cannot be reached")
    page.get_by_role("button", name="Close this message").click()
    expect(trouble).to_be_empty()


def test_a_key_is_asked_for_where_one_is_needed(
    context: BrowserContext, second_model: Path, tmp_path: Path
) -> None:
    secret = add_key(tmp_path / "keys.toml", "page", "default", ["ingest", "recommend", "admin"])
    with server_thread(
        second_model, tmp_path / "events.db", Authenticator(read_keys(tmp_path / "keys.toml"))
    ) as locked:
        page = context.new_page()
        page.goto(locked.url)
        field = page.get_by_label("This server asks for an API key")
        expect(field).to_be_focused()
        expect(page.locator("#trouble")).to_contain_text("The API key is missing")
        field.fill("rp_wrong")
        field.press("Enter")
        expect(page.locator("#trouble")).to_contain_text("The API key is unknown")
        field.fill(secret)
        field.press("Enter")
        expect(page.locator("#items > li")).to_have_count(10)
        expect(field).to_be_hidden()
        expect(page.locator("#trouble")).to_be_empty()
        settled(page)
        answered(page, lambda: page.locator("#items [data-verb=add]").first.click())
        stored = page.evaluate("[JSON.stringify(sessionStorage), localStorage.length, document.cookie]")
        assert json.loads(stored[0]) == {"reprise-key": secret}
        assert stored[1:] == [0, ""]
        opened(page, locked)  # the tab keeps it
        page.close()


def test_a_key_that_does_not_allow_all_still_shows_what_it_allows(
    context: BrowserContext, second_model: Path, tmp_path: Path
) -> None:
    secret = add_key(tmp_path / "keys.toml", "reader", "default", ["recommend"])
    with server_thread(
        second_model, tmp_path / "events.db", Authenticator(read_keys(tmp_path / "keys.toml"))
    ) as locked:
        page = context.new_page()
        page.goto(locked.url)
        page.get_by_label("This server asks for an API key").fill(secret)
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#items > li")).to_have_count(10)
        expect(page.locator("#trouble")).to_contain_text(
            "The key does not allow admin. Ask for a key of scope admin."
        )
        settled(page)
        answered(page, lambda: page.locator("#items [data-verb=add]").first.click())
        expect(page.locator("#line li")).to_have_count(1)
        page.close()


def test_kinds_of_events_can_be_chosen_where_the_model_knows_several(
    context: BrowserContext, first_model: Path, tmp_path: Path
) -> None:
    with server_thread(first_model, tmp_path / "events.db") as visits:
        kinds = visits.call("GET", "/v1/model")["kinds"]
        page = opened(context.new_page(), visits)
        choice = page.get_by_label("Kind of event")
        expect(choice.locator("option")).to_have_text(kinds)
        choose(page, "emil")
        choice.select_option(kinds[-1])
        answered(page, lambda: page.locator("#items [data-verb=add]").first.click())
        expect(page.locator("#line .when")).to_contain_text(kinds[-1])
        (event,) = visits.call("GET", "/v1/users/emil")["events"]
        assert event["kind"] == kinds[-1]
        page.close()


def test_a_long_past_shows_its_newest_end(page: Page, shop: Address) -> None:
    events = [
        {"user_id": "fritz", "item_id": ITEMS[step % 20], "timestamp": 1_700_000_000 + step}
        for step in range(230)
    ]
    shop.call("POST", "/v1/events", {"events": events})
    choose(page, "fritz")
    expect(page.locator("#line li")).to_have_count(20)
    expect(page.locator("#line code").first).to_have_text(ITEMS[229 % 20])
    page.get_by_role("button", name="Show 210 earlier events").click()
    expect(page.locator("#line li")).to_have_count(200)
    expect(page.locator("#line li").nth(20)).to_be_focused()
    expect(page.get_by_role("button", name="30 earlier events not shown")).to_be_disabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_all_without_sideways_scrolling(
    browser: Browser, shop: Address, scheme: Any
) -> None:
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True, color_scheme=scheme)
    page = opened(context.new_page(), shop)
    build(page)
    for item, text in (("p7", "onerror"), ("p8", "VeryVery")):
        page.get_by_label("Find an item").fill(text)
        expect(page.locator("#found .title")).to_have_text([f"{TITLES[item]} {item}"])
        answered(page, lambda: page.locator("#found button").tap())
    page.get_by_label("How many items").fill("20")
    answered(page, lambda: page.keyboard.press("Tab"))
    page.get_by_role("button", name="Go on").tap()
    expect(page.locator("#path li")).to_have_count(5)
    page.get_by_label("Filter by columns").fill(json.dumps({"x" * 200: 1}))
    page.keyboard.press("Enter")
    expect(page.locator("#filter-error")).to_contain_text("no column")
    widths = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1] == PHONE["width"]
    assert (
        page.evaluate("getComputedStyle(document.body).color")
        == {
            "light": "rgb(30, 28, 25)",
            "dark": "rgb(235, 231, 223)",
        }[scheme]
    )
    context.close()


def test_the_last_events_of_a_user_can_be_asked_for(shop: Address) -> None:
    events = [{"user_id": "greta", "item_id": item} for item in ITEMS]
    shop.call("POST", "/v1/events", {"events": events})
    told = shop.call("GET", "/v1/users/greta?last=3")
    assert [event["item_id"] for event in told["events"]] == ITEMS[-3:]
    assert told["next_after"] is None
    first, *_ = told["events"]
    assert shop.call("GET", f"/v1/users/greta?last=3&after={first['seq']}")["events"] == told["events"][1:]


def test_what_is_served_can_be_asked_for(shop: Address) -> None:
    told = shop.call("GET", "/v1/model")
    assert told["model_version"] == shop.call("GET", "/readyz")["model_version"]
    assert told["items"] == len(ITEMS)
    assert told["kinds"] == []
    assert {"item_id", "title", "price"} <= set(told["columns"])
