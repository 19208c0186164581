from __future__ import annotations

import pickle

import numpy as np
import pytest

from avsctl.caches.audio import AudioCache, assemble_audio
from avsctl.caches.priors import PriorCache, assemble_priors, to_bytes
from avsctl.errors import AvsctlError


def test_embeddings_are_found_by_clip(tmp_path):
    rows = [{"embedding": np.full((n, 4), n, np.float32)} for n in (2, 5)]
    settings = {"encoder": "logmel", "inputs": {"clips": "f"}, "options": {}}
    cache = AudioCache(assemble_audio(tmp_path / "audio.h5", lambda: rows, uids=["a", "b"], **settings))
    assert cache.embedding("b").shape == (5, 4) and cache.embedding("a")[0, 0] == 2
    assert (cache.dim, cache.rows, cache.encoder) == (4, 7, "logmel")
    with pytest.raises(AvsctlError, match="no clip c"):
        cache.embedding("c")


def test_stored_bytes_keep_every_decision():
    probability = np.array([0.0, 0.498, 0.4999999, 0.5, 0.5000001, 0.502, 1.0])
    assert (to_bytes(probability) >= 128).tolist() == (probability > 0.5).tolist()
    assert np.abs(to_bytes(probability) / 255 - probability).max() < 1 / 255


def test_priors_are_found_by_clip_and_pickle(tmp_path):
    maps = [{"maps": np.full((n, 8, 8), n, np.uint8)} for n in (2, 5)]
    settings = {"origin": "predicted", "accuracy": {"s4/test": 0.5}, "inputs": {}, "options": {}}
    cache = PriorCache(assemble_priors(tmp_path / "p.h5", lambda: maps, uids=["a", "b"], **settings))
    cache.maps("a")
    assert pickle.loads(pickle.dumps(cache)).maps("b").shape == (5, 8, 8)
    assert cache.accuracy == {"s4/test": 0.5} and "a" in cache and "c" not in cache
    with pytest.raises(AvsctlError, match="no prior for clip c"):
        cache.maps("c")
