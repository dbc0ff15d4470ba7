"""Reading event logs, item tables and histories, and writing recommendations."""
