"""The tools of the MCP server: find items by title, recommend, similar items, and an explanation.

The Model Context Protocol (modelcontextprotocol.io) lets an assistant call tools. Histories are passed by the caller, so
the server has no users and stores nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from reprise.data.vocabulary import ItemId
from reprise.errors import DataError, MissingLibraryError, RepriseError
from reprise.recommender.recommendations import Recommendation
from reprise.recommender.recommender import Recommender

if TYPE_CHECKING:
    from mcp.server import MCPServer

MAX_K = 100
"""Maximum number of items in an answer, which an assistant has to read."""
MAX_HISTORY = 1_000
"""Maximum number of events in a history."""
EXPLAINED = 50
"""Number of last events whose influence is computed."""
INSTRUCTIONS = (
    "Recommend items of a catalogue with a model of event sequences. A history is a list of item ids, oldest first. Call "
    "find_items to get the ids of items from words of their titles."
)

History = Annotated[
    list[ItemId], Field(description="Item ids of the user, oldest first.", max_length=MAX_HISTORY)
]
Length = Annotated[int, Field(description="Number of items to return.", ge=1, le=MAX_K)]
Item = Annotated[ItemId, Field(description="Id of the item.")]


class ToolAnswer(BaseModel):
    """Base class of results."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ToolTitle(ToolAnswer):
    """An item of the catalogue."""

    item_id: ItemId
    """Id of the item."""
    title: str | None = None
    """Title of the item, if it has one."""


class ToolItem(ToolTitle):
    """An item of a ranked list."""

    rank: int
    """Rank in the list; 1 is best."""
    score: float
    """Score of the item; compare scores of one answer only."""

    @classmethod
    def of(cls, item: Recommendation) -> "ToolItem":
        """Return an item of a recommendation."""
        return cls(item_id=item.item_id, title=item.title, rank=item.rank, score=item.score)


class ToolItems(ToolAnswer):
    """A ranked list."""

    items: list[ToolItem]
    """Items, best first."""
    skipped: int = 0
    """Number of events of the history that were skipped, because the model does not know their items."""


class ToolTitles(ToolAnswer):
    """Items whose titles have the words."""

    items: list[ToolTitle]
    """Items in the order of the catalogue, the most frequent items of the training part first."""


class ToolInfluence(ToolTitle):
    """Influence of one event of the history on the score of an item."""

    position: int
    """Position of the event in the history, from 0."""
    influence: float
    """Score with the event minus score without it; positive if the event raised the score."""


class ToolExplanation(ToolAnswer):
    """Events that raised or lowered the score of an item."""

    influences: list[ToolInfluence]
    """Influences of the last events of the history, largest amounts first."""


def mcp_server(recommender: Recommender) -> "MCPServer":
    """Return an MCP server with the tools `find_items`, `recommend`, `similar_items` and `explain`.

    Args:
        recommender: Model that answers.

    Raises:
        MissingLibraryError: The library `mcp` is not installed.
    """
    try:
        from mcp.server import MCPServer
    except ModuleNotFoundError as error:
        raise MissingLibraryError(
            "the library 'mcp' is not installed; an MCP server needs it: pip install \"reprise[mcp]\""
        ) from error
    server = MCPServer("reprise", instructions=INSTRUCTIONS, version=version("reprise"), log_level="WARNING")
    tools = ModelTools(recommender)
    for tool in (tools.find_items, tools.recommend, tools.similar_items, tools.explain):
        server.add_tool(tool)
    return server


class ModelTools:
    """The tools, as methods whose signatures and docstrings are their schemas.

    Args:
        recommender: Model that answers.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        self.catalogue = recommender.ranker.catalogue
        indices = range(1, self.catalogue.size + 1)
        self._titles = [(self.catalogue.title(index) or "").casefold() for index in indices]

    def find_items(
        self,
        words: Annotated[str, Field(description="Words of the title, or the id of an item.", max_length=200)],
        limit: Length = 10,
    ) -> ToolTitles:
        """Find items whose title has all the words, in any order and case, or whose id is the text."""
        wanted = words.casefold().split()
        found = [
            index
            for index, title in enumerate(self._titles, start=1)
            if (wanted and all(word in title for word in wanted))
            or str(self.catalogue.item_id(index)) == words.strip()
        ]
        items = [
            ToolTitle(item_id=self.catalogue.item_id(index), title=self.catalogue.title(index))
            for index in found[:limit]
        ]
        return ToolTitles(items=items)

    def recommend(
        self,
        history: History,
        k: Length = 10,
        exclude_seen: Annotated[
            bool, Field(description="Whether to leave out the items of the history.")
        ] = True,
    ) -> ToolItems:
        """Recommend the items that are most likely to come next after a history."""
        with _tool_errors():
            found = self.recommender.recommend(self._known(history), k, exclude_seen=exclude_seen)
        return ToolItems(items=[ToolItem.of(item) for item in found], skipped=found.skipped)

    def similar_items(self, item_id: Item, k: Length = 10) -> ToolItems:
        """Find the items that are most similar to an item according to the model."""
        with _tool_errors():
            found = self.recommender.similar_items(self._id(item_id), k)
        return ToolItems(items=[ToolItem.of(item) for item in found])

    def explain(self, history: History, item_id: Item) -> ToolExplanation:
        """Explain the score of an item: how much each of the last events of the history raised or lowered it."""
        with _tool_errors():
            found = self.recommender.explain(self._known(history), self._id(item_id), last=EXPLAINED)
        influences = [
            ToolInfluence(
                item_id=one.item_id,
                title=self.catalogue.title(self.catalogue.index(one.item_id)),
                position=one.position,
                influence=one.influence,
            )
            for one in sorted(found, key=lambda one: -abs(one.influence))
        ]
        return ToolExplanation(influences=influences)

    def _known(self, history: Iterable[ItemId]) -> list[ItemId]:
        return [self._id(item_id) for item_id in history]

    def _id(self, item_id: ItemId) -> ItemId:
        """Return an id in the type of the catalogue; assistants confuse the number 7 with the text "7"."""
        known = self.catalogue.item_id(1)
        if isinstance(known, str):
            return str(item_id)
        try:
            return int(item_id)
        except ValueError:
            raise DataError(
                f"item ids of this model are integers, got {item_id!r}; call find_items"
            ) from None


@contextmanager
def _tool_errors() -> Iterator[None]:
    """Turn errors of a user into errors of the tool, whose message the assistant reads."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        yield
    except RepriseError as error:
        raise ToolError(str(error)) from error
