from __future__ import annotations

import os
import pickle

import numpy as np

from avsctl.metrics.on_disk import OnDisk


def test_arrays_come_back_to_the_last_bit_whenever_they_are_read():
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape) for shape in ((255,), (3, 4), (0,))]
    kept = [OnDisk(value) for value in values]
    for value, one in [*zip(values, kept, strict=True)][::-1]:
        assert np.array_equal(one.read(), value) and one.read().shape == value.shape
        again = pickle.loads(pickle.dumps(one))
        assert np.array_equal(again.read(), value)
        assert np.array_equal(one.read(), value)


def test_a_forked_child_reads_its_parent_s_and_does_not_write_into_it():
    before = OnDisk(np.arange(5.0))
    child = os.fork()
    if not child:
        OnDisk(np.full(5, -1.0))
        os._exit(0 if before.read()[4] == 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
    after = OnDisk(np.arange(5.0, 10.0))
    assert before.read().tolist() == [0, 1, 2, 3, 4] and after.read().tolist() == [5, 6, 7, 8, 9]
