"""Connections of the HTTP server: the protocol, its limits, and the listening sockets."""
