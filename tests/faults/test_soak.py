"""The short form of soak.py: too few clips for a slope, enough for a leak of pictures or files."""

from __future__ import annotations

from soak import soak

CLIPS = 120
ONE_PICTURE = 32 * 32 * 3 * 4
"""Bytes of a decoded frame as float32: what a leak would leave of each clip at least."""


def test_many_clips_leave_no_pictures_and_no_open_files_behind():
    for step, found in soak(CLIPS).items():
        assert len(found["files"]) == 1, (step, found)
        # The allocator takes memory in pieces of its own, so that a megabyte comes and goes.
        assert found["growth"] < CLIPS * ONE_PICTURE + 2**20, (step, found)
