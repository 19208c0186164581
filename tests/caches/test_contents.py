"""A cache made by a stranger leads nowhere else, and holds what it declares."""

from __future__ import annotations

import json
import os
import resource

import h5py
import numpy as np
import pytest

from avsctl.caches.audio import AudioCache, assemble_audio
from avsctl.caches.clips import ClipCache, ClipRecord, assemble_clips
from avsctl.caches.names import fit_name, plain_name
from avsctl.caches.priors import PriorCache, assemble_priors
from avsctl.errors import AvsctlError


@pytest.fixture
def clips(tmp_path):
    records = [ClipRecord(uid, uid, "s4", "train", [b"f0", b"f1"], [b"l", b""], b"wav") for uid in ("a", "b")]
    items = [record.arrays() for record in records]
    settings = {"classes": ["background", "cat"], "palette": np.zeros((2, 3), np.uint8), "options": {}}
    return assemble_clips(tmp_path / "clips.h5", lambda: items, label_kind="semantic", **settings)


@pytest.fixture
def audio(tmp_path):
    rows = [{"embedding": np.ones((2, 4), np.float32)} for _ in "ab"]
    settings = {"uids": ["a", "b"], "encoder": "logmel", "inputs": {}, "options": {}}
    return assemble_audio(tmp_path / "audio.h5", lambda: rows, **settings)


@pytest.fixture
def priors(tmp_path):
    maps = [{"maps": np.zeros((2, 8, 8), np.uint8)} for _ in "ab"]
    settings = {"uids": ["a", "b"], "origin": "predicted", "accuracy": {"s4/test": 0.5}, "inputs": {}, "options": {}}
    return assemble_priors(tmp_path / "p.h5", lambda: maps, **settings)


def _external(file, name, secret):
    file[name] = h5py.ExternalLink(secret.name, "numbers")


def _soft(file, name, secret):
    file[name] = h5py.SoftLink("/clips/uid")


def _virtual(file, name, secret):
    layout = h5py.VirtualLayout((4, 4), np.float32)
    layout[...] = h5py.VirtualSource(secret.name, "numbers", (4, 4))
    file.create_virtual_dataset(name, layout)


def _raw(file, name, secret):
    external = [(os.fsencode(secret), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset(name, (4, 4), np.float32, external=external)


def _declared(file, name, secret):
    file.create_dataset(name, (2**40, 4), np.float32, chunks=(1024, 4))


def _declared_packed(file, name, secret):
    file.create_dataset(name, (2**33, 4), np.float32, chunks=(1024, 4), compression="gzip")


def _foreign_filter(file, name, secret):
    file.create_dataset(name, (4, 4), np.float32, chunks=(4, 4), compression="lzf")


def _loop(file, name, secret):
    file[name] = file["/"]


ATTACKS = {
    _external: "is a link to secret.h5",
    _soft: "is a link",
    _virtual: "virtual dataset",
    _raw: "another file",
    _declared: "declares 17,592,186,044,416 bytes and holds 0",
    _declared_packed: "declares",
    _foreign_filter: "filter 32000",
    _loop: "no dataset",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_leads_elsewhere_or_is_not_there_is_refused(audio, tmp_path, attack):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["numbers"] = np.full((4, 4), 42, np.float32)
    with h5py.File(audio, "r+") as file:
        del file["embedding"]
        attack(file, "embedding", secret)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AvsctlError, match=ATTACKS[attack]):
        AudioCache(audio)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


@pytest.mark.parametrize("uid", ["../../owned", "/etc/x", "a/b", "..", "C:x", "\x1b[2Jx", "x" * 250, "a"])
def test_a_clip_whose_name_leads_out_or_comes_twice_is_refused(clips, uid):
    with h5py.File(clips, "r+") as file:
        del file["clips/uid"]
        file["clips/uid"] = np.array([b"a", uid.encode()])
    with pytest.raises(AvsctlError, match="clips.h5 is not a readable clips cache"):
        ClipCache(clips)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clips/first_frame", [0, 2, 2**62]), ("clips/first_frame", [0, 3, 2]), ("clips/first_frame", [0, 2]),
        ("frames/offset", [0, 2, 4, 6, 2**40]), ("labels/offset", [0, 1, -1, 2, 2]), ("audio/offset", [0, 6]),
        ("clips/split", np.array([b"train", b"../x"])), ("clips/uid", np.arange(2)), ("frames/data", np.zeros((2, 4))),
    ],
)  # fmt: skip
def test_an_index_that_does_not_fit_is_refused(clips, name, value):
    with h5py.File(clips, "r+") as file:
        del file[name]
        file[name] = value
    with pytest.raises(AvsctlError, match="clips.h5 is not a readable clips cache"):
        ClipCache(clips)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", json.dumps("[" * 3)), ("classes", "[" * 100_000), ("classes", '["a", 1]'), ("classes", '["a"]'),
        ("palette", "[[0, 0, 0], [0, 0, 999]]"), ("palette", "NaN"), ("label_kind", "x"), ("options", "[]"),
        ("inputs", "null"),
    ],
)  # fmt: skip
def test_a_description_that_is_none_is_refused(clips, name, value):
    with h5py.File(clips, "r+") as file:
        file.attrs[name] = np.bytes_(value.encode()) if len(value) < 60_000 else value
    with pytest.raises(AvsctlError, match="clips.h5 is not a readable clips cache"):
        ClipCache(clips)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sound_that_is_no_number_names_the_clip(audio, value):
    with h5py.File(audio, "r+") as file:
        file["embedding"][2, 1] = value
    with pytest.raises(AvsctlError, match="NaN or infinite numbers in 1 frames, the first of clip b"):
        AudioCache(audio)


@pytest.mark.parametrize("shape, kind", [((4, 8, 8), "f4"), ((4, 8), "u1"), ((4, 8, 9), "u1"), ((4, 8, 8), "u2")])
def test_maps_of_another_kind_are_refused(priors, shape, kind):
    with h5py.File(priors, "r+") as file:
        del file["maps"]
        file["maps"] = np.zeros(shape, kind)
    with pytest.raises(AvsctlError, match="p.h5 is not a readable priors cache"):
        PriorCache(priors)


def test_a_file_of_countless_datasets_is_refused(audio):
    with h5py.File(audio, "r+") as file:
        for number in range(100):
            file[f"more/{number}"] = 0
    with pytest.raises(AvsctlError, match="more than 64 datasets"):
        AudioCache(audio)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "clips.h5")
    with pytest.raises(AvsctlError, match="is no file"):
        ClipCache(tmp_path / "clips.h5")


def test_names_that_lead_nowhere_else_are_kept_and_others_can_be_made_so():
    for name in ("a", "ünï 名前 🎻", "-rf", "$(touch x)", "a.b", "CON"):
        assert plain_name(name) and fit_name(name) == name
    for name in ("", " ", ".", "..", "a/b", "a\\b", "C:", "a\nb", "\x1b[0m", "\u202e", "\ud800", "é" * 150, None, 3):
        assert not plain_name(name)
        assert not isinstance(name, str) or plain_name(fit_name(name))
