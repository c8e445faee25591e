"""Logging of the server processes: to standard error, one line each, never with a query or a token in it."""

from __future__ import annotations

import logging


def configure_logging() -> None:
    """Say what we say from INFO on, and what libraries say from WARNING on."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("runcast").setLevel(logging.INFO)
    # At INFO uvicorn prints the whole path of each WebSocket, with its query.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
