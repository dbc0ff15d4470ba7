"""Pages of the server that are made from its own description."""
