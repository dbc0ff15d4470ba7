"""Serve encrypted scores of a saved model as a process."""

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from reprise.errors import ConfigError
from reprise.privacy.encrypted.blind_scorer import BlindScorer
from reprise.privacy.encrypted.ckks_parameters import CkksParameters
from reprise.privacy.encrypted.scoring_app import ScoringApp
from reprise.recommender.artefact.artefact import vectors_checksum
from reprise.recommender.artefact.reading import read

MAX_CONNECTIONS = 64
KEEP_ALIVE_S = 5


def serve_encrypted(
    model: Path,
    host: str = "127.0.0.1",
    port: int = 8010,
    when_ready: Callable[[BlindScorer], None] | None = None,
) -> None:
    """Serve encrypted scores until the process receives SIGTERM or SIGINT. Neither queries nor addresses are logged.

    Args:
        model: Directory of a saved model.
        host: Address to listen on.
        port: TCP port to listen on.
        when_ready: Function to call when the vectors are encoded.

    Raises:
        ArtefactError: the model cannot be read.
        ConfigError: TenSEAL is not installed, or the address cannot be used.
    """
    parameters = CkksParameters()
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on port {port} of {host} ({error.strerror}); choose another with --port or --host"
        ) from None
    with listening:
        artefact = read(model)
        scorer = BlindScorer(artefact.output_ID, parameters)
        ids = artefact.items.column("item_id").to_pylist()[: artefact.scored]
        app = ScoringApp(scorer, ids, vectors_checksum(artefact.output_ID)).application()
        if when_ready is not None:
            when_ready(scorer)
        config = uvicorn.Config(
            app,
            ws="none",
            access_log=False,
            log_level="warning",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            server_header=False,
            proxy_headers=False,
        )
        uvicorn.Server(config).run(sockets=[listening])
