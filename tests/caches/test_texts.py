from __future__ import annotations

import pickle

import numpy as np

from avsctl.caches.texts import TextColumn, Texts, packed

NAMES = [f"clip_{number * 7919 % 2500}é" for number in range(2500)]  # more than are packed at once


def test_a_column_reads_like_a_list_of_its_texts():
    texts = Texts(packed(NAMES))
    assert list(texts) == NAMES and texts == NAMES and len(texts) == len(NAMES)
    assert (texts[3], texts[-1]) == (NAMES[3], NAMES[-1])
    assert texts[5:9] == NAMES[5:9] and texts[5:9] != NAMES[5:8] and texts != NAMES[::-1]
    assert pickle.loads(pickle.dumps(texts)) == NAMES


def test_a_text_is_found_where_it_stands():
    places = Texts(packed(NAMES)).places()
    assert [places[name] for name in NAMES] == list(range(len(NAMES)))
    assert list(places) == NAMES and len(places) == len(NAMES)
    for strange in ("", "clip_", "zzz", "x" * 1000, "\udcff"):
        assert strange not in places


def test_the_last_of_equal_texts_is_found():
    for values in (packed(["b", "a", "b"]), np.array([b"b", b"a", b"b"], object)):
        assert dict(Texts(values).places()) == {"b": 2, "a": 1}


def test_a_growing_column_keeps_texts_that_are_wider_than_those_before():
    column = TextColumn()
    for length in range(1, 1100):
        column.append(b"x" * length)
    assert len(column) == 1099 and list(map(len, column)) == list(range(1, 1100))
    assert column.array().dtype == "S1099" and TextColumn().array().shape == (0,)
