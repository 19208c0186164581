"""What the user can fix."""

from __future__ import annotations


class AvsctlError(Exception):
    """A problem the user can mend: the message says what, where, and the next thing to type.

    The command line prints it as one line and exits with code 2 (wrong use or bad input), without a traceback.
    """
