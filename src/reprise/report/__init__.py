"""The report room: models side by side as facts, and the facts as one page that opens anywhere."""
