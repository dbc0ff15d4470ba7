"""`reprise mcp`: a server of the Model Context Protocol on standard input and output."""

import typer

from reprise.cli.history_batches import open_recommender
from reprise.cli.shared_options import DatasetOption, ModelPath, Trusted, Verify

EXAMPLE = "reprise mcp shop.model"


def mcp(
    model: ModelPath, dataset: DatasetOption = None, verify: Verify = None, trusted: Trusted = False
) -> None:
    """Let an assistant ask a model for recommendations, similar items and explanations, by the Model Context Protocol."""
    from reprise.mcp_server.mcp_tools import mcp_server

    server = mcp_server(open_recommender(model, dataset, trusted=trusted, verify=verify))
    typer.echo("MCP server on standard input and output; stop it with Ctrl-C", err=True)
    server.run("stdio")
