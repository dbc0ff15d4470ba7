"""Several runs on one machine: worker processes, seeds of a recipe and members of an ensemble."""
