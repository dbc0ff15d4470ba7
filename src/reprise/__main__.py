"""`python -m reprise` is the command `reprise`."""

from reprise.cli.main import main

if __name__ == "__main__":
    main()
