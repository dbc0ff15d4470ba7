"""The command line. Each command imports heavy libraries only when it runs."""
