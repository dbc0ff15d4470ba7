"""Tests of `reprise mcp`: a client of the MCP library starts the command and calls a tool."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters


def test_a_client_starts_the_command_and_gets_recommendations(shop: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "reprise", "mcp", str(shop / "model")], env=dict(os.environ)
    )

    async def ask() -> Any:
        async with Client(server, read_timeout_seconds=120) as client:
            return await client.call_tool("recommend", {"history": [3, 4], "k": 5})

    found = asyncio.run(ask())
    assert len(found.structured_content["items"]) == 5
    assert found.structured_content["items"][0]["title"].startswith("Mug ")
