"""Reporting of epochs: to a function of the caller, and to tracking tools."""
