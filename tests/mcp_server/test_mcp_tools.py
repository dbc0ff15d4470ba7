"""The tools of the MCP server, called by the client of the MCP library."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import torch
from mcp import Client
from mcp.server.mcpserver.exceptions import ToolError

from reprise.data.dataset import SequenceDataset
from reprise.mcp_server import mcp_server
from reprise.mcp_server.mcp_tools import ModelTools
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender.recommender import Recommender
from reprise.testing.worlds import world


def network(dataset: SequenceDataset) -> Any:
    """Return a network without training; its scores are arbitrary and the same for every call."""
    torch.manual_seed(0)
    return Recurrent(size=8, layers=1, cooccurrence=0, repeats=0).build(dataset.sizes).eval()


@pytest.fixture(scope="module")
def model() -> Recommender:
    dataset = world(
        [list("abcabc"), list("bcabca")] * 3, titles={"a": "Red Mug", "b": "Blue mug", "c": "Lamp"}
    )
    return Recommender(network(dataset), dataset)


def call(server: Any, use: Callable[[Client], Awaitable[Any]]) -> Any:
    async def connect() -> Any:
        async with Client(server) as client:
            return await use(client)

    return asyncio.run(connect())


def ask(model: Recommender, tool: str, **arguments: object) -> Any:
    return call(mcp_server(model), lambda client: client.call_tool(tool, arguments))


def test_the_tools_have_schemas_and_descriptions(model: Recommender) -> None:
    tools = call(mcp_server(model), lambda client: client.list_tools()).tools
    assert [tool.name for tool in tools] == ["find_items", "recommend", "similar_items", "explain"]
    assert all(tool.description and tool.output_schema for tool in tools)
    history = tools[1].input_schema["properties"]["history"]
    assert (history["maxItems"], history["description"]) == (1000, "Item ids of the user, oldest first.")


def test_recommendations_are_those_of_the_model(model: Recommender) -> None:
    expected = model.recommend(["a", "b"], 4, exclude_seen=True)
    found = ask(model, "recommend", history=["a", "unknown", "b"], k=4).structured_content
    items = found["items"]
    assert (len(items), found["skipped"]) == (1, 1)
    assert [(one["item_id"], one["rank"]) for one in items] == [(one.item_id, one.rank) for one in expected]
    assert [one["score"] for one in items] == pytest.approx([one.score for one in expected])


def test_similar_items_and_explanations_are_those_of_the_model(model: Recommender) -> None:
    first, second, third, *_ = model.items.ids.tolist()
    similar = ask(model, "similar_items", item_id=first, k=2).structured_content["items"]
    assert [one["item_id"] for one in similar] == model.similar_items(first, 2).item_ids
    influences = ask(model, "explain", history=[first, second], item_id=third).structured_content[
        "influences"
    ]
    expected = sorted(model.explain([first, second], third), key=lambda one: -abs(one.influence))
    assert [(one["item_id"], one["position"]) for one in influences] == [
        (one.item_id, one.position) for one in expected
    ]


def test_items_are_found_by_words_of_their_titles(model: Recommender) -> None:
    def found(words: str) -> list[str]:
        items = ask(model, "find_items", words=words).structured_content["items"]
        return [one["item_id"] for one in items]

    assert sorted(found("MUG")) == ["a", "b"]
    assert (found("mug red"), found("c"), found("chair"), found("")) == (["a"], ["c"], [], [])


def test_an_integer_id_may_be_written_as_text() -> None:
    dataset = world([[7, 8, 9, 7, 8, 9]] * 3)
    tools = ModelTools(Recommender(network(dataset), dataset))
    assert tools.recommend(["7", 8], 3, exclude_seen=False) == tools.recommend([7, 8], 3, exclude_seen=False)
    with pytest.raises(ToolError, match="item ids of this model are integers, got 'Lamp'; call find_items"):
        tools.recommend(["Lamp"], 3)


def test_faults_are_errors_of_the_tool(model: Recommender) -> None:
    found = ask(model, "similar_items", item_id="nothing")
    assert found.is_error
    assert "nothing" in found.content[0].text
    assert ask(model, "recommend", history=[], k=0).is_error
