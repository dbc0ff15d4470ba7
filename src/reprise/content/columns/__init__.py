"""One module for each kind of column: how its values become features."""
