"""The item catalogue, its columns and filters on them."""
