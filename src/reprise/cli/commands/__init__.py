"""One module for each command of `reprise`."""
