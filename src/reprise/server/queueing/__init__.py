"""Bounded work queues between the event loop and the worker threads."""
