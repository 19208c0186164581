from __future__ import annotations

import pickle

import pytest

from avsctl.data.entries import Entries, Entry

LISTED = [
    Entry(f"clip {i}", f"video {i // 2}", "s4", "train", ("v1s", f"clip {i}"), (0,), 5, ("cat", "hörn")[: i % 3], i + 2)
    for i in range(20)
]


def test_entries_read_like_the_list_that_they_were_made_of():
    entries = Entries(LISTED)
    assert list(entries) == LISTED and len(entries) == len(LISTED) and entries[-1] == LISTED[-1]
    assert list(entries[3:9:2]) == LISTED[3:9:2] and len(entries[30:]) == 0
    assert list(pickle.loads(pickle.dumps(entries))) == LISTED
    with pytest.raises(IndexError):
        entries[20]


def test_entries_repeat_as_they_were_so_that_a_stopped_command_goes_on():
    assert list(map(repr, Entries(LISTED))) == list(map(repr, LISTED))
