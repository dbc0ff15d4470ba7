"""Durable event logs in SQLite and PostgreSQL."""
