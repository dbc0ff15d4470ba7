"""Clients take turns, and so do the users of one client."""

import random

import pytest

from reprise.server.queueing.fair_order import Client, FairOrder

A, B = ("shop", "a"), ("shop", "b")


def order_of(*works: tuple[Client, str]) -> FairOrder[str]:
    order: FairOrder[str] = FairOrder()
    for client, work in works:
        order.add(client, work)
    return order


def taken(order: FairOrder[str]) -> str:
    return " ".join(order.take() for _ in range(len(order)))


def test_work_of_one_client_keeps_its_order() -> None:
    assert taken(order_of(*((Client(A), work) for work in "12345"))) == "1 2 3 4 5"


def test_keys_take_turns_and_users_of_a_key_share_its_turns() -> None:
    order = order_of(
        *((Client(A, "anna"), f"anna{number}") for number in range(4)),
        (Client(A, "bert"), "bert0"),
        *((Client(B), f"b{number}") for number in range(3)),
    )
    assert order.first() == "anna0"
    assert taken(order) == "anna0 b0 bert0 b1 anna1 b2 anna2 anna3"
    assert len(order) == 0


def test_pending_work_can_be_removed_once() -> None:
    order = order_of((Client(A, "anna"), "1"), (Client(A, "anna"), "2"), (Client(B), "3"))
    assert order.remove(Client(A, "anna"), "1") and order.remove(Client(B), "3")
    assert not order.remove(Client(A, "anna"), "1") and not order.remove(Client(B, "bert"), "9")
    assert taken(order) == "2"


@pytest.mark.parametrize("seed", range(20))
def test_the_number_of_works_before_a_new_one_is_estimated(seed: int) -> None:
    """With one turn each, the estimate is off by at most the turns that have passed: one for each key and user."""
    generator = random.Random(seed)
    clients = [Client(key, user) for key in (A, B) for user in ("anna", "bert")]
    order = order_of(*((generator.choice(clients), f"{number}") for number in range(generator.randrange(12))))
    for _ in range(generator.randrange(4)):
        if len(order):
            order.take()
    client = generator.choice(clients)
    expected = order.before(client)
    order.add(client, "new")
    assert abs(taken(order).split().index("new") - expected) <= len(clients)


def test_one_client_with_much_work_does_not_delay_another() -> None:
    order = order_of(*((Client(A, "anna"), str(number)) for number in range(50)))
    assert order.before(Client(A, "anna")) == 50
    assert order.before(Client(A, "bert")) == 1
    assert order.before(Client(B)) == 1
