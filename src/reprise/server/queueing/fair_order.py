"""Fair order of pending work: clients take turns, and so do the users of one client."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

Work = TypeVar("Work")


class Client(NamedTuple):
    """Whom a request is for. Work of different clients takes turns, whatever they send."""

    key: tuple[str, str] = ("", "")
    """Tenant and name of the API key."""
    user: str = ""
    """Id of the user; empty if the request is not for one user."""


class FairOrder(Generic[Work]):
    """Pending work in the order in which it will be taken (round robin over keys, then over the users of a key).

    Work of one user keeps its order. With a single client this is a queue: first in, first out. Not thread-safe.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, str], OrderedDict[str, deque[Work]]] = OrderedDict()
        self._count = 0

    def add(self, client: Client, work: Work) -> None:
        """Add work to the end of its client's work."""
        self._keys.setdefault(client.key, OrderedDict()).setdefault(client.user, deque()).append(work)
        self._count += 1

    def first(self) -> Work:
        """Return the work that is next."""
        users = next(iter(self._keys.values()))
        return next(iter(users.values()))[0]

    def take(self) -> Work:
        """Remove and return the work that is next; its user and its key go to the end."""
        key, users = next(iter(self._keys.items()))
        user, works = next(iter(users.items()))
        work = works.popleft()
        self._count -= 1
        _rotate(users, user, bool(works))
        _rotate(self._keys, key, bool(users))
        return work

    def remove(self, client: Client, work: Work) -> bool:
        """Remove work that is not needed any more; return whether it was pending."""
        users = self._users(client)
        works = users.get(client.user, deque())
        if work not in works:
            return False
        works.remove(work)
        self._count -= 1
        if not works:
            del users[client.user]
        if not users:
            del self._keys[client.key]
        return True

    def of_user(self, client: Client) -> Sequence[Work]:
        """Return the pending work of the client's user, without a copy: it changes with later calls."""
        return self._users(client).get(client.user, ())

    def before(self, client: Client) -> int:
        """Return about how many works will be taken before a new one of a client."""
        users = self._users(client)
        turns = len(users.get(client.user, ()))
        own = turns + sum(min(len(works), turns + 1) for user, works in users.items() if user != client.user)
        others = (sum(map(len, users.values())) for key, users in self._keys.items() if key != client.key)
        return own + sum(min(count, own + 1) for count in others)

    def _users(self, client: Client) -> OrderedDict[str, deque[Work]]:
        return self._keys.get(client.key) or OrderedDict()

    def __iter__(self) -> Iterator[Work]:
        return (work for users in self._keys.values() for works in users.values() for work in works)

    def __len__(self) -> int:
        return self._count


def _rotate(turns: "OrderedDict[Any, Any]", name: object, pending: bool) -> None:
    """Move an entry to the end, or remove it if nothing of it is pending."""
    if pending:
        turns.move_to_end(name)
    else:
        del turns[name]
