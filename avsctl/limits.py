"""How much a file may ask for before it is refused: a few bytes can promise gigabytes."""

from __future__ import annotations

import os

from avsctl.errors import AvsctlError

MAX_PIXELS = 64_000_000
"""Of a picture or a video's frame: nearly two frames of 8K. `--max-pixels` is another number."""
MAX_SECONDS = 3600.0
"""Of a video: its sound is held in memory, and absurd lengths come from broken time stamps."""
MAX_FRAMES = 3600
"""Of a clip, at one a second."""
MAX_SAMPLES = 64_000_000
"""Of a clip's sound, all channels together: an hour of one channel at 16 kHz."""
MAX_VIDEO_SAMPLES = 2 * 48_000 * 3600
"""Of a video's sound: two channels at 48 kHz for `MAX_SECONDS`."""
MAX_TEXT = 2**26
"""Bytes of a csv or JSON file."""
MAX_FILE = 2**27
"""Bytes of a picture, a sound, or a pickle in a dataset."""

PIXELS_VARIABLE = "AVSCTL_MAX_PIXELS"
"""Holds `--max-pixels`, so that worker processes know it too."""


def max_pixels() -> int:
    """The largest number of pixels a picture may have.

    Raises: AvsctlError: If the variable holds no number above 0.
    """
    text = os.environ.get(PIXELS_VARIABLE)
    if text is None:
        return MAX_PIXELS
    if not (text.isascii() and text.isdigit() and int(text[:18]) > 0):
        raise AvsctlError(f"{PIXELS_VARIABLE} is {text!r}, which is no number of pixels. Set it to {MAX_PIXELS}.")
    return int(text[:18])
