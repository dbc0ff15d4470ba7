"""The contract of a store with an answer log: a part of the contract of an event store."""

from reprise.server.store.answer_log import FOREVER_MS, Answer, KeepsAnswers, Response, ShownItem
from reprise.server.store.event_store import EventStore, ListsEvents
from reprise.server.store.records import Status, User, UserEvent

ANNA, BERT, NAMESAKE = User("shop", "anna"), User("shop", "bert"), User("rival", "anna")
START_MS = 1_700_000_000_000


def check_answers(store: EventStore, other: EventStore) -> None:
    """Check the contract of `KeepsAnswers` with two handles of one store, if the store has an answer log.

    Raises:
        AssertionError: the store breaks the contract; the message says how.
    """
    if not isinstance(store, KeepsAnswers) or not isinstance(other, KeepsAnswers):
        return
    for one in (store, other):
        one.trim_answers(FOREVER_MS, 0)
    given = [_answer(0, ANNA), _answer(1, BERT), _answer(2, None), _answer(3, NAMESAKE)]
    store.append_answers(given)
    store.append_answers([given[0]._replace(model="another")])
    read = [*other.answers("shop")]
    assert [_plain(one) for one in read] == [_plain(one) for one in given[:3]], (
        "answers must be read as they were stored, once, in their order, and only those of the tenant"
    )
    hashes = [one.user_hash for one in read]
    assert hashes[0] and hashes[1] and hashes[0] != hashes[1] and hashes[2] == "", (
        "different users must have different hashes, and an answer without a user must have none"
    )
    assert hashes[:2] == [store.user_hash(ANNA), other.user_hash(BERT)], (
        "user_hash must return the hash that answers are read with"
    )
    assert all(user.user_id not in one for one in hashes for user in (ANNA, BERT)), (
        "ids of users must not be stored"
    )
    period = [one.recommendation_id for one in store.answers("shop", START_MS + 1, START_MS + 2)]
    assert period == ["r1"], "a period must include its first millisecond and not its last one"
    _check_responses(store, other, hashes[0])
    store.delete_user(ANNA)
    assert [one.recommendation_id for one in other.answers("shop")] == ["r1", "r2"], (
        "the deletion of a user must delete the answers of the user, and no others"
    )
    assert [one.item_id for one in other.responses("shop")] == ["p2"], (
        "the deletion of a user must delete the responses of the user, and no others"
    )
    store.append_answers([_answer(number, BERT) for number in range(10, 20)])
    assert store.trim_answers(START_MS + 2, 5) == 8, (
        "trimming must return the number of deleted answers and responses"
    )
    assert [one.recommendation_id for one in other.answers("shop")] == [
        f"r{number}" for number in range(15, 20)
    ], "trimming must keep the newest answers"
    assert store.trim_answers(FOREVER_MS, 0) == 7, "trimming must delete everything before the given time"
    store.delete_user(BERT)
    store.delete_user(NAMESAKE)


def check_listed_events(store: EventStore, other: EventStore) -> None:
    """Check the contract of `ListsEvents` with two handles of one store, if the store can list its events.

    Raises:
        AssertionError: the store breaks the contract; the message says how.
    """
    if not isinstance(other, ListsEvents):
        return
    events = [
        UserEvent(f"p{number}", START_MS + number, "view", 0.5 * number, f"listed {number}")
        for number in range(4)
    ]
    users = [ANNA, BERT, NAMESAKE, ANNA]
    store.append(list(zip(users, events, strict=True)))
    for tenant in ("shop", "rival"):
        expected = [
            (user.user_id, event) for user, event in zip(users, events, strict=True) if user.tenant == tenant
        ]
        found = [(user_id, event._replace(seq=0)) for user_id, event in other.all_events(tenant)]
        assert sorted(found) == sorted(expected), (
            "all events of the tenant must be listed as they were stored"
        )
    for user in {*users}:
        store.delete_user(user)
    assert [*other.all_events("shop")] == [], "events of deleted users must not be listed"


def _check_responses(store: EventStore, other: EventStore, anna_hash: str) -> None:
    assert isinstance(store, KeepsAnswers) and isinstance(other, KeepsAnswers)
    click = UserEvent("p1", START_MS + 5, "view", 2.5, "click", recommendation_id="r0")
    statuses = store.append(
        [
            (ANNA, click),
            (ANNA, click._replace(recommendation_id="r1")),
            (BERT, UserEvent("p2", START_MS + 6, recommendation_id="unknown")),
            (NAMESAKE, UserEvent("p3", START_MS + 7, recommendation_id="r3")),
            (BERT, UserEvent("p4", START_MS + 8)),
        ]
    )
    accepted = Status.ACCEPTED
    assert statuses == [accepted, Status.DUPLICATE, accepted, accepted, accepted], (
        "an event is a duplicate whatever recommendation_id it carries"
    )
    found = [*other.responses("shop")]
    assert found[0] == Response("r0", START_MS + 5, "p1", "view", 2.5, anna_hash), (
        "a response must be read as it was stored, with the hash that the answers of the user have"
    )
    assert [one.item_id for one in found] == ["p1", "p2"], (
        "accepted events with a recommendation_id are responses, and duplicates and other events are not"
    )
    assert [one.item_id for one in store.responses("shop", START_MS + 6)] == ["p2"], (
        "a period must be respected"
    )


def _answer(number: int, user: User | None) -> Answer:
    items = (ShownItem("p 1 ✓", 2.5), ShownItem("p2", -0.5, 0.25))
    tenant = "shop" if user is None else user.tenant
    variant = "b" if number % 2 else None
    return Answer(f"r{number}", START_MS + number, tenant, user, "shop-1", variant, "recommend", items)


def _plain(answer: Answer) -> Answer:
    return answer._replace(user=None, user_hash="")
