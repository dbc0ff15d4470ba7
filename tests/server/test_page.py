"""The demo page, tested with a real server and a headless browser."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, Route, expect, sync_playwright
from server_thread import Address, server_thread

from reprise.server.http.app import Authenticator
from reprise.server.http.auth import add_key, read_keys

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
ATTACK = "<img src=x onerror=\"document.title='attacked'\">"
ITEMS = [f"p{item}" for item in range(5, 25)]
TITLES = {item: f"Thing {item[1:]}" for item in ITEMS} | {"p7": ATTACK, "p8": f"{'Very' * 30} long"}
WITHIN_MS = 15_000
expect.set_options(timeout=WITHIN_MS)


@pytest.fixture(
    scope="module"
)  # closed after this module: its event loop runs in this thread, and later tests need their own
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("the tests of the page need Chromium: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def shop(second_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A server whose items have prices and titles; one title is an attack, and one is very long."""
    with server_thread(second_model, tmp_path_factory.mktemp("page") / "events.db") as shop:
        for price, (item, title) in enumerate(TITLES.items()):
            shop.call("PUT", f"/v1/items/{item}", {"title": title, "price": price})
        yield shop


class Observer:
    """Records the errors of a page and the hosts of its requests."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on(
            "console", lambda message: self.errors.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport=DESK, reduced_motion="reduce")
    context.set_default_timeout(WITHIN_MS)
    yield context
    context.close()


@pytest.fixture
def observer(context: BrowserContext) -> Observer:
    return Observer(context.new_page())


@pytest.fixture
def page(context: BrowserContext, observer: Observer, shop: Address) -> Page:
    """The page of the shop, with its first recommendations."""
    (page,) = context.pages
    return open_page(page, shop)


def open_page(page: Page, shop: Address) -> Page:
    page.goto(shop.url)
    expect(page.locator("#items li").first).to_be_visible()
    wait_until_loaded(page)
    return page


def wait_until_loaded(page: Page) -> None:
    """Wait until the recommendations and their explanations are complete."""
    expect(page.locator("#items")).to_have_attribute("aria-busy", "false")


def shown_items(page: Page) -> list[str]:
    """Return the ids of the recommended items, best first."""
    ids = page.locator("#items > li").evaluate_all("rows => rows.map(row => row.dataset.id)")
    return [str(one) for one in ids]


def recommendations_after(page: Page, act: Callable[[], object]) -> dict[str, Any]:
    """Do something, wait until its recommendations and explanations are shown, and return the server's response."""

    def is_explained(response: Response) -> bool:
        return response.url.endswith("/v1/recommend") and "explain" in (response.request.post_data or "")

    with page.expect_response(is_explained) as received:
        act()
    body: dict[str, Any] = received.value.json()
    wait_until_loaded(page)
    assert shown_items(page) == [one["item_id"] for one in body["items"]]
    return body


def choose(page: Page, user: str) -> None:
    page.get_by_label("A stored user").check(force=True)
    page.get_by_label("User id").fill(user)
    page.get_by_label("User id").press("Enter")
    expect(page.locator("#delete")).to_be_visible()
    wait_until_loaded(page)


def build(page: Page) -> None:
    page.get_by_label("My own history").check(force=True)
    expect(page.locator("#user-panel")).to_be_hidden()
    wait_until_loaded(page)


def find(page: Page, text: str) -> None:
    page.get_by_label("Find an item").fill(text)
    expect(page.locator("#results li")).to_have_count(sum(text in title for title in TITLES.values()))


def test_an_added_event_is_stored_and_changes_the_recommendations(
    page: Page, observer: Observer, shop: Address
) -> None:
    choose(page, "anna/1")
    before = shown_items(page)
    find(page, "Thing 13")
    answer = recommendations_after(
        page, lambda: page.get_by_role("button", name="Add Thing 13").first.click()
    )
    (event,) = shop.call("GET", "/v1/users/anna%2F1")["events"]
    assert event["item_id"] == "p13"
    assert shown_items(page) != before
    response = shop.call("POST", "/v1/recommend", {"user_id": "anna/1", "k": 10, "explain": True})
    assert [one["item_id"] for one in response["items"]] == shown_items(page)
    assert [one["causes"] for one in response["items"]] == [one["causes"] for one in answer["items"]]
    # the page shows the titles, scores and explanations of the response, and the event on the timeline
    first = page.locator("#items > li").first
    expect(first.locator(".title")).to_contain_text(TITLES[response["items"][0]["item_id"]])
    expect(first.locator(".score")).to_contain_text(
        f"{response['items'][0]['score']:.2f}".replace("-0.00", "0.00")
    )
    (cause,) = response["items"][0]["causes"]
    expect(first.locator(".causes .influence")).to_have_text(
        f"{cause['influence']:+.2f}".replace("-", "\u2212")
    )
    expect(page.locator("#timeline li")).to_have_count(1)
    expect(page.locator("#timeline .title")).to_contain_text("Thing 13")
    expect(page.get_by_role("list", name="Newest users").get_by_role("button", name="anna/1")).to_be_visible()
    expect(page.locator("#latency")).to_contain_text("ms")
    assert observer.errors == []
    assert observer.hosts == {shop.url.split("/")[2]}


def test_each_item_shows_the_change_of_its_rank(page: Page) -> None:
    build(page)
    before: list[str] = []
    for place in (0, 2):
        recommendations_after(
            page, lambda place=place: page.locator("#items [data-action=add]").nth(place).click()
        )  # type: ignore[misc]
        before, now = before or shown_items(page), shown_items(page)
    moves = page.locator("#items .move").evaluate_all("all => all.map(one => one.lastChild.textContent)")
    expected = []
    for rank, item in enumerate(now):
        by = before.index(item) - rank if item in before else None
        expected.append("new" if by is None else f"up {by}" if by > 0 else f"down {-by}" if by < 0 else "")
    assert moves == expected
    assert any(expected)
    news = page.locator("#summary")
    assert news.get_attribute("aria-live") == "polite"
    for word in ("new", "up", "down"):
        number = sum(move.startswith(word) for move in moves)
        if number:
            expect(news).to_contain_text(f"{number} {word}")
    for item in set(before) - set(now):
        expect(news).to_contain_text("Removed:")
        if len(set(before) - set(now)) <= 3:
            expect(news).to_contain_text(TITLES[item])


def test_pointing_at_an_item_marks_its_causes_on_the_timeline(page: Page) -> None:
    build(page)
    for _ in range(4):
        answer = recommendations_after(page, lambda: page.locator("#items [data-action=add]").first.click())
    page.locator("#items > li").nth(1).hover()
    causes = answer["items"][1]["causes"]
    expect(page.locator("#timeline .cause")).to_have_count(len({cause["timestamp"] for cause in causes}))
    pushes = page.locator("#timeline .cause .influence").evaluate_all(
        "all => all.map(one => one.textContent)"
    )
    assert sorted(pushes) == sorted(f"{cause['influence']:+.2f}".replace("-", "\u2212") for cause in causes)
    expect(page.locator(".links path")).to_have_count(len(causes))
    page.mouse.move(0, 0)
    expect(page.locator("#timeline .cause")).to_have_count(0)
    page.locator("#items .more summary").nth(1).focus()
    expect(page.locator("#timeline .cause")).to_have_count(len(causes))


def test_an_own_history_is_sent_and_not_stored(page: Page, shop: Address) -> None:
    users = shop.call("GET", "/v1/users")["users"]
    build(page)
    find(page, "Thing 14")
    recommendations_after(page, lambda: page.get_by_role("button", name="Add Thing 14").first.click())
    find(page, "Thing 21")
    recommendations_after(page, lambda: page.get_by_role("button", name="Add Thing 21").first.click())
    response = shop.call("POST", "/v1/recommend", {"events": [{"item_id": "p14"}, {"item_id": "p21"}]})
    assert shown_items(page) == [one["item_id"] for one in response["items"]]
    expect(page.locator("#timeline .title")).to_have_text(["Thing 21 p21", "Thing 14 p14"])  # newest first
    page.get_by_role("button", name="Remove Thing 21").click()
    response = shop.call("POST", "/v1/recommend", {"events": [{"item_id": "p14"}]})
    expect(page.locator("#timeline li")).to_have_count(1)
    expect(page.locator("#items > li").first).to_have_attribute("data-id", response["items"][0]["item_id"])
    assert shop.call("GET", "/v1/users")["users"] == users
    page.get_by_role("button", name="Clear the history").click()
    expect(page.locator("#timeline li")).to_have_count(0)
    expect(page.locator("#items .reason").first).to_contain_text("popular")


def test_a_user_is_deleted_after_a_confirmation(page: Page, shop: Address) -> None:
    shop.call("POST", "/v1/events", {"events": [{"user_id": "ben", "item_id": "p9"}] * 2})
    choose(page, "ben")
    expect(page.locator("#timeline li")).to_have_count(2)
    page.get_by_role("button", name="Delete this user").click()
    dialog = page.get_by_role("dialog", name="Delete ben?")
    dialog.get_by_role("button", name="Cancel").click()
    assert len(shop.call("GET", "/v1/users/ben")["events"]) == 2
    page.get_by_role("button", name="Delete this user").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#proof")).to_contain_text("ben was deleted with 2 events. No trace of the user id")
    expect(page.locator("#timeline li")).to_have_count(0)
    assert shop.call("GET", "/v1/users/ben")["events"] == []
    without_history = shop.call("POST", "/v1/recommend", {"events": []})
    expect(page.locator("#items .score").first).to_contain_text(f"{without_history['items'][0]['score']:.2g}")
    wait_until_loaded(page)
    assert shown_items(page) == [one["item_id"] for one in without_history["items"]]


def test_rules_are_applied_and_their_errors_are_shown(page: Page) -> None:
    build(page)
    recommendations_after(page, lambda: page.locator("#items [data-action=add]").first.click())
    page.get_by_label("Number of items").fill("4")
    recommendations_after(page, lambda: page.get_by_label("Number of items").press("Tab"))
    assert len(shown_items(page)) == 4
    rule = page.get_by_label("Filter by columns")
    rule.fill('{"price": {"max": 2}}')
    recommendations_after(page, lambda: rule.press("Enter"))
    assert set(shown_items(page)) == {"p5", "p6", "p7"}
    error = page.locator("#filter-error")
    for text, words in (
        ('{"price"', "This is not JSON"),
        ("[1]", "A filter is an object"),
        ('{"colour": 1}', "no column 'colour'"),
    ):
        rule.fill(text)
        rule.press("Enter")
        expect(error).to_contain_text(words)
        expect(rule).to_have_attribute("aria-invalid", "true")
    rule.fill("")
    recommendations_after(page, lambda: rule.press("Enter"))
    expect(error).to_be_empty()
    denied = shown_items(page)[0]
    page.locator("#items .more summary").first.click()
    recommendations_after(page, lambda: page.locator("#items [data-action=deny]").first.click())
    assert denied not in shown_items(page)
    recommendations_after(page, lambda: page.locator("#denied button").click())
    assert denied in shown_items(page)
    seen_item = page.locator("#timeline code").inner_text()
    page.get_by_label("Number of items").fill("1000")
    recommendations_after(page, lambda: page.get_by_label("Number of items").press("Tab"))
    expect(page.get_by_label("Number of items")).to_have_value("100")
    assert sorted(shown_items(page)) == sorted(ITEMS)
    recommendations_after(page, lambda: page.get_by_label("Leave out").check())
    assert seen_item not in shown_items(page)
    page.get_by_label("Diversity").focus()
    with page.expect_request(
        lambda sent: '"diversity":0.05' in (sent.post_data or "") and "explain" in (sent.post_data or "")
    ):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#diversity-value")).to_have_text("0.05")


def test_a_continuation_is_the_most_likely_one_or_a_sample_and_follows_the_history(
    page: Page, shop: Address
) -> None:
    build(page)
    find(page, "Thing 12")
    page.get_by_role("button", name="Add Thing 12").first.click()
    expect(page.locator("#timeline li")).to_have_count(1)
    path = page.locator("#path code")
    query = {"events": [{"item_id": "p12"}], "length": 5}
    page.get_by_role("button", name="Generate").click()
    response = shop.call("POST", "/v1/generate", {**query, "beams": 8})
    expect(path).to_have_text([one["item_id"] for one in response["items"]])
    page.get_by_label("Random sample").check(force=True)
    page.get_by_label("Seed").fill("17")
    page.get_by_label("Seed").press("Enter")
    response = shop.call("POST", "/v1/generate", {**query, "seed": 17})
    expect(path).to_have_text([one["item_id"] for one in response["items"]])
    page.locator("#path button").first.click()
    query["events"] = [{"item_id": "p12"}, {"item_id": response["items"][0]["item_id"]}]
    response = shop.call("POST", "/v1/generate", {**query, "seed": 17})
    expect(path).to_have_text([one["item_id"] for one in response["items"]])


def test_similar_items_can_be_added(page: Page, shop: Address) -> None:
    build(page)
    item = shown_items(page)[0]
    page.locator("#items .more summary").first.click()
    page.locator("#items [data-action=similar]").first.click()
    response = shop.call("POST", "/v1/similar", {"item_id": item, "k": 8})
    rows = page.locator("#similar-items")
    expect(rows.locator("code")).to_have_text([one["item_id"] for one in response["items"]])
    recommendations_after(page, lambda: rows.get_by_role("button").nth(1).click())
    expect(page.locator("#similar")).to_be_hidden()
    expect(page.locator("#timeline code")).to_have_text(response["items"][1]["item_id"])


def test_the_page_can_be_used_with_the_keyboard_alone(page: Page, shop: Address) -> None:
    keys = page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(80):
            keys.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"the focus did not reach {selector}")

    page.evaluate("document.activeElement.blur()")
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the recommendations")).to_be_focused()
    tab_to('[name="mode"]')
    # the arrow key selects the other radio button; press it again if that is the wrong one
    keys.press("ArrowLeft")
    if not page.get_by_label("A stored user").is_checked():
        keys.press("ArrowLeft")
    expect(page.get_by_label("A stored user")).to_be_checked()
    tab_to("#user")
    keys.press("Control+A")
    keys.type("carla")
    keys.press("Enter")
    expect(page.locator("#now-text")).to_contain_text("no stored events")
    shop.call("POST", "/v1/events", {"events": [{"user_id": "known", "item_id": "p9"}]})
    page.reload()
    tab_to('#users [aria-pressed="true"]')
    keys.press("Enter")
    expect(page.locator("#timeline li")).to_have_count(1)
    expect(page.locator('#users [aria-pressed="true"]')).to_be_focused()
    page.locator("#user").fill("carla")
    keys.press("Enter")
    expect(page.locator("#now-text")).to_contain_text("no stored events")
    tab_to("#search")
    keys.type("Thing 16")
    expect(page.locator("#results li")).to_have_count(1)
    tab_to("#results button")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus must be visible"
    recommendations_after(page, lambda: keys.press("Enter"))
    tab_to("#items [data-action=add]")
    item = page.evaluate("document.activeElement.closest('li').dataset.id")
    recommendations_after(page, lambda: keys.press("Enter"))
    events = shop.call("GET", "/v1/users/carla")["events"]
    assert [event["item_id"] for event in events] == ["p16", item]
    # the focus stays on the button when the list changes
    assert page.evaluate("document.activeElement.dataset.action") == "add"
    tab_to("#items .more summary")
    keys.press("Enter")
    tab_to("#items [data-action=similar]")
    keys.press("Enter")
    expect(page.locator("#similar")).to_be_visible()
    keys.press("Escape")
    expect(page.locator("#similar")).to_be_hidden()
    tab_to("#rules #k")
    tab_to("#path-form button")
    keys.press("Enter")
    expect(page.locator("#path li")).to_have_count(5)
    tab_to("#path button")
    recommendations_after(page, lambda: keys.press("Enter"))
    assert page.evaluate("document.activeElement.closest('#path') !== null")
    page.locator("#delete").focus()
    keys.press("Enter")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    keys.press("Tab")
    keys.press("Enter")
    expect(page.locator("#proof")).to_be_focused()


def test_a_title_with_markup_is_shown_as_text_everywhere(page: Page, observer: Observer) -> None:
    build(page)
    find(page, "onerror")
    found = page.locator("#results .title")
    expect(found).to_have_text(f"{ATTACK} p7")
    page.locator("#results button").click()
    expect(page.locator("#timeline .title")).to_have_text(f"{ATTACK} p7")
    expect(page.locator("#items .cause-title").first).to_have_text(ATTACK)
    recommendations_after(
        page, lambda: page.get_by_label("Number of items").fill("20") or page.keyboard.press("Tab")
    )
    row = page.locator('#items > li[data-id="p7"]')
    expect(row.locator(".title")).to_have_text(f"{ATTACK} p7")
    row.locator(".more summary").click()
    row.locator("[data-action=similar]").click()
    expect(page.locator("#similar-head")).to_have_text(f"Similar to {ATTACK}")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Generate").click()
    row.locator("[data-action=deny]").click()
    expect(page.locator("#denied button")).to_contain_text(ATTACK)
    choose(page, ATTACK)
    find(page, "Thing 13")
    page.get_by_role("button", name="Add Thing 13").first.click()
    expect(page.locator('#users [aria-pressed="true"]')).to_have_text(ATTACK)
    assert page.locator("img").count() == 0
    assert page.title() == "Reprise demo"
    assert observer.errors == []


def test_an_older_response_does_not_replace_a_newer_one(page: Page) -> None:
    build(page)
    held: list[Route] = []
    # the first request is held back until the second one has a response
    page.route("**/v1/recommend", lambda route: route.continue_() if held else held.append(route), times=None)
    page.locator("#items [data-action=add]").first.click()
    expect(page.locator("#timeline li")).to_have_count(1)
    answer = recommendations_after(page, lambda: page.locator("#items [data-action=add]").nth(3).click())
    assert answer["events"] == 2
    newer = shown_items(page)
    stale = [{**one, "title": "stale"} for one in reversed(answer["items"])]
    try:
        held[0].fulfill(json={**answer, "items": stale})
    except Exception as error:  # the browser has cancelled that request
        assert "abort" in str(error).lower() or "handled" in str(error).lower(), error
    page.wait_for_timeout(200)
    assert shown_items(page) == newer
    expect(page.locator("#items").get_by_text("stale")).to_have_count(0)


def test_the_list_is_busy_until_the_last_request_is_complete(page: Page) -> None:
    build(page)
    rows, refresh = page.locator("#items"), page.get_by_role("button", name="Refresh")
    held: list[Route] = []
    page.route("**/v1/recommend", lambda route: held.append(route))
    for number in (1, 2):  # the second request cancels the first, and the list stays busy
        refresh.click()
        while len(held) < number:
            page.wait_for_timeout(10)
        expect(rows).to_have_attribute("aria-busy", "true")
    error = {"code": "overloaded", "message": "too many requests are waiting", "hint": None}
    held[1].fulfill(status=429, json={"error": error})
    wait_until_loaded(page)  # an error completes the request too
    expect(page.locator("#error")).to_contain_text("Too many requests are waiting.")


def test_rapid_clicks_are_stored_in_their_order(page: Page, shop: Address) -> None:
    choose(page, "dora")
    clicked = shown_items(page)[:5]
    page.evaluate(
        "for (const button of [...document.querySelectorAll('#items [data-action=add]')].slice(0, 5)) button.click()"
    )
    expect(page.locator("#timeline li")).to_have_count(5)
    assert [event["item_id"] for event in shop.call("GET", "/v1/users/dora")["events"]] == clicked
    wait_until_loaded(page)
    response = shop.call("POST", "/v1/recommend", {"user_id": "dora"})
    assert shown_items(page) == [one["item_id"] for one in response["items"]]


def test_errors_are_shown_and_removed_after_a_success(page: Page) -> None:
    build(page)
    banner = page.locator("#error")
    assert banner.get_attribute("aria-live") == "assertive"
    error = {"code": "overloaded", "message": "too many requests are waiting", "hint": "send fewer requests"}
    page.route("**/v1/recommend", lambda route: route.fulfill(status=429, json={"error": error}), times=1)
    page.get_by_role("button", name="Refresh").click()
    expect(banner).to_contain_text("Too many requests are waiting. Send fewer requests.")
    refresh = page.get_by_role("button", name="Refresh")
    refresh.click()
    expect(banner).to_be_empty()
    page.route("**/v1/recommend", lambda route: route.abort(), times=1)
    refresh.click()
    expect(banner).to_contain_text("The server cannot be reached")
    page.get_by_role("button", name="Close this message").click()
    expect(banner).to_be_empty()


def test_the_page_asks_for_a_required_key(
    context: BrowserContext, second_model: Path, tmp_path: Path
) -> None:
    secret = add_key(tmp_path / "keys.toml", "page", "default", ["ingest", "recommend", "admin"])
    with server_thread(
        second_model, tmp_path / "events.db", Authenticator(read_keys(tmp_path / "keys.toml"))
    ) as locked:
        page = context.new_page()
        page.goto(locked.url)
        field = page.get_by_label("This server requires an API key")
        expect(field).to_be_focused()
        expect(page.locator("#error")).to_contain_text("The API key is missing")
        field.fill("rp_wrong")
        field.press("Enter")
        expect(page.locator("#error")).to_contain_text("The API key is unknown")
        field.fill(secret)
        field.press("Enter")
        expect(page.locator("#items > li")).to_have_count(10)
        expect(field).to_be_hidden()
        expect(page.locator("#error")).to_be_empty()
        wait_until_loaded(page)
        recommendations_after(page, lambda: page.locator("#items [data-action=add]").first.click())
        stored = page.evaluate("[JSON.stringify(sessionStorage), localStorage.length, document.cookie]")
        assert json.loads(stored[0]) == {"reprise-key": secret}
        assert stored[1:] == [0, ""]
        open_page(page, locked)  # the key is kept in the tab
        page.close()


def test_a_key_with_one_scope_can_use_its_part_of_the_page(
    context: BrowserContext, second_model: Path, tmp_path: Path
) -> None:
    secret = add_key(tmp_path / "keys.toml", "reader", "default", ["recommend"])
    with server_thread(
        second_model, tmp_path / "events.db", Authenticator(read_keys(tmp_path / "keys.toml"))
    ) as locked:
        page = context.new_page()
        page.goto(locked.url)
        page.get_by_label("This server requires an API key").fill(secret)
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#items > li")).to_have_count(10)
        expect(page.locator("#error")).to_contain_text(
            "The API key does not have the scope admin. Use a key with the scope admin."
        )
        wait_until_loaded(page)
        recommendations_after(page, lambda: page.locator("#items [data-action=add]").first.click())
        expect(page.locator("#timeline li")).to_have_count(1)
        page.close()


def test_the_kind_of_an_event_can_be_chosen_if_the_model_has_several(
    context: BrowserContext, first_model: Path, tmp_path: Path
) -> None:
    with server_thread(first_model, tmp_path / "events.db") as visits:
        kinds = visits.call("GET", "/v1/model")["kinds"]
        page = open_page(context.new_page(), visits)
        choice = page.get_by_label("Kind of event")
        expect(choice.locator("option")).to_have_text(kinds)
        choose(page, "emil")
        choice.select_option(kinds[-1])
        recommendations_after(page, lambda: page.locator("#items [data-action=add]").first.click())
        expect(page.locator("#timeline .when")).to_contain_text(kinds[-1])
        (event,) = visits.call("GET", "/v1/users/emil")["events"]
        assert event["kind"] == kinds[-1]
        page.close()


def test_a_long_history_is_shortened_to_its_newest_events(page: Page, shop: Address) -> None:
    events = [
        {"user_id": "fritz", "item_id": ITEMS[step % 20], "timestamp": 1_700_000_000 + step}
        for step in range(230)
    ]
    shop.call("POST", "/v1/events", {"events": events})
    choose(page, "fritz")
    expect(page.locator("#timeline li")).to_have_count(20)
    expect(page.locator("#timeline code").first).to_have_text(ITEMS[229 % 20])
    page.get_by_role("button", name="Show 210 earlier events").click()
    expect(page.locator("#timeline li")).to_have_count(200)
    expect(page.locator("#timeline li").nth(20)).to_be_focused()
    expect(page.get_by_role("button", name="30 earlier events not shown")).to_be_disabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_without_horizontal_scrolling(
    browser: Browser, shop: Address, scheme: Any
) -> None:
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True, color_scheme=scheme)
    page = open_page(context.new_page(), shop)
    build(page)
    for item, text in (("p7", "onerror"), ("p8", "VeryVery")):
        page.get_by_label("Find an item").fill(text)
        expect(page.locator("#results .title")).to_have_text([f"{TITLES[item]} {item}"])
        recommendations_after(page, lambda: page.locator("#results button").tap())
    page.get_by_label("Number of items").fill("20")
    recommendations_after(page, lambda: page.keyboard.press("Tab"))
    page.get_by_role("button", name="Generate").tap()
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


def test_get_user_can_return_only_the_last_events(shop: Address) -> None:
    events = [{"user_id": "greta", "item_id": item} for item in ITEMS]
    shop.call("POST", "/v1/events", {"events": events})
    response = shop.call("GET", "/v1/users/greta?last=3")
    assert [event["item_id"] for event in response["events"]] == ITEMS[-3:]
    assert response["next_after"] is None
    first, *_ = response["events"]
    assert (
        shop.call("GET", f"/v1/users/greta?last=3&after={first['seq']}")["events"] == response["events"][1:]
    )


def test_get_model_describes_the_served_model(shop: Address) -> None:
    response = shop.call("GET", "/v1/model")
    assert response["model_version"] == shop.call("GET", "/readyz")["model_version"]
    assert response["items"] == len(ITEMS)
    assert response["kinds"] == []
    assert {"item_id", "title", "price"} <= set(response["columns"])
