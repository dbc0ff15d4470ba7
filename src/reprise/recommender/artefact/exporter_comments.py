"""Removal of the comments and warnings of torch's ONNX exporter."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def strip_comments(message: Any) -> None:
    """Remove the exporter's comments: they contain file names of this machine, and are most of the bytes of a small graph."""
    for comment in ("metadata_props", "doc_string"):
        if comment in message.DESCRIPTOR.fields_by_name:
            message.ClearField(comment)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                strip_comments(part)


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence the exporter's warnings about its own internals and about packages that are not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
