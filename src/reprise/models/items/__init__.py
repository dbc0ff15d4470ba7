"""Item vectors: learned ones, and those from the content of items."""
