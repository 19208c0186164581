"""`python -m avsctl`."""

from avsctl.cli import main

main()
