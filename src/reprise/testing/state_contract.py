"""The contract of a store that keeps states of users: a part of the contract of an event store."""

from reprise.server.store.event_store import EventStore, KeepsStates
from reprise.server.store.records import StoredState, User, UserEvent

ANNA, BERT, UNUSUAL = User("shop", "anna"), User("shop", "bert"), User("shop", "Zoë 'x'; -- \"y\" \\ 🛒")
NAMESAKE = User("rival", "anna")
EVENT = UserEvent("p1", 1_700_000_000_000)


def check_states(store: EventStore, other: EventStore) -> None:
    """Check the contract of `KeepsStates` with two handles of one store, if the store keeps states.

    Raises:
        AssertionError: the store breaks the contract; the message says how.
    """
    if not isinstance(store, KeepsStates) or not isinstance(other, KeepsStates):
        return
    while store.drop_states("none of this check", 10):
        pass
    store.append([(user, EVENT) for user in (ANNA, BERT, UNUSUAL)])

    def state(user: User, seq: int, model: str = "m1", body: bytes = b"") -> StoredState:
        return StoredState(
            user, store.events_since(user).generation, seq, model, body or bytes(range(256)) * seq
        )

    assert store.load_state(ANNA, "m1") is None, "a state that was not saved must be None"
    first, second = state(ANNA, 5), state(UNUSUAL, 2)
    store.save_states([first, second])
    for handle in (store, other):
        assert handle.load_state(ANNA, "m1") == first, "every handle must return a state as it was saved"
        assert handle.load_state(UNUSUAL, "m1") == second, "states of several users must be separate"
        assert handle.load_state(ANNA, "m2") is None, "a state of another model must not be returned"
        assert handle.load_state(NAMESAKE, "m1") is None, "tenants must be separate"
        assert handle.load_state(BERT, "m1") is None, "a user without a state must have none"
    store.save_states([state(ANNA, 4)])
    assert store.load_state(ANNA, "m1") == first, "an older state must not replace a newer one"
    newer = state(ANNA, 7)
    other.save_states([newer])
    assert store.load_state(ANNA, "m1") == newer, "a newer state must replace an older one"
    replaced = state(UNUSUAL, 1, "m2")
    store.save_states(
        [replaced, state(BERT, 3, "m3"), StoredState(User("shop", "unknown"), 9, 1, "m1", b"x")]
    )
    assert store.load_state(UNUSUAL, "m2") == replaced, "a state must replace that of another model"
    assert store.load_state(UNUSUAL, "m1") is None, "a user must have one state"
    assert store.load_state(User("shop", "unknown"), "m1") is None, "no state may be kept for an unknown user"
    assert other.drop_states("m1", 1) == 1 and other.drop_states("m1", 9) == 1, (
        "drop_states must respect its limit"
    )
    assert store.drop_states("m1", 9) == 0 and store.load_state(ANNA, "m1") == newer, (
        "drop_states must delete the states of other models only"
    )
    store.delete_user(ANNA)
    store.save_states([newer])
    store.append([(ANNA, EVENT)])
    other.save_states([newer])
    assert store.load_state(ANNA, "m1") is None, "a state must be deleted with its user, and not come back"
