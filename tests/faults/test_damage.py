"""Damaged caches: every damaged clip is named, and made again alone, to the very bytes that were written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import h5py
import pytest

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.priors import PriorCache
from avsctl.cli import cli
from avsctl.cli._console import run_guarded

PRIORS = ("predict-priors", "--level", "low", "--size", 32, "--workers", 0)
CACHES = {
    "clips.h5": ("prepare", "avsbench", "--workers", 0),
    "audio.h5": ("extract-audio", "--workers", 0),
    "priors/low.h5": PRIORS,
}
CLIP = 7


@pytest.fixture(scope="module")
def dataset(tiny_workspace):
    return tiny_workspace / "AVSBench-synthetic"


@pytest.fixture
def avsctl(workspace_copy, tiny_workspace, dataset, monkeypatch, capfd):
    """Run a command in a copy of the tiny workspace; gives exit code, stdout and stderr."""
    monkeypatch.setenv("AVSBENCH_ROOT", str(dataset))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(workspace_copy(tiny_workspace))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["avsctl", *map(str, words)])
        code = run_guarded(cli)
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    assert run(*PRIORS)[0] == 0
    return run


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)


def _place_in_clip(name: str) -> int:
    """Where in the file the content of clip `CLIP` lies."""
    with h5py.File(name) as file:
        first = int(file["clips/first_frame"][CLIP])
        if name == "clips.h5":
            return file["frames/data"].id.get_offset() + int(file["frames/offset"][first]) + 100
        if name == "audio.h5":
            return file["embedding"].id.get_offset() + first * file["embedding"].shape[1] * 4
        return file["maps"].id.get_chunk_info_by_coord((first, 0, 0)).byte_offset + 6


def _uid(name: str) -> str:
    reader = {"clips.h5": ClipCache, "audio.h5": AudioCache}.get(name, PriorCache)
    return reader(Path(name)).uids[CLIP]


def test_a_whole_workspace_is_said_to_be_whole(avsctl):
    code, out, _ = avsctl("status", "--verify")
    assert code == 0
    assert out.count("18 clips as they were written") == 3
    assert out.count("safetensors: readable") == 2


@pytest.mark.parametrize("name", CACHES)
def test_a_flipped_bit_is_found_named_and_mended(avsctl, name):
    before, uid = Path(name).read_bytes(), _uid(name)
    _flip(Path(name), _place_in_clip(name))
    code, out, _ = avsctl("status", "--verify")
    assert code == 1
    assert f"damaged: {name}: 1 of 18 clips are damaged ({uid}). Make them again with 'avsctl {CACHES[name][0]}" in out
    code, _, err = avsctl(*CACHES[name], "--repair")
    assert code == 0
    assert f"{name}: clip {uid} is damaged and is made again" in err
    assert Path(name).read_bytes() == before
    assert f"{name}: all 18 clips are as they were written" in avsctl(*CACHES[name], "--repair")[2]


@pytest.mark.parametrize("name", CACHES)
def test_of_a_cache_cut_short_all_is_made_again(avsctl, name):
    before = Path(name).read_bytes()
    Path(name).write_bytes(before[: len(before) // 2])
    code, out, _ = avsctl("status", "--verify", "--json")
    assert code == 1
    problem = next(one["problem"] for one in json.loads(out)["verified"] if one["path"] == name)
    assert f"{name} is not a readable" in problem
    code, _, err = avsctl(*CACHES[name], "--repair")
    assert code == 0
    assert "Nothing in it can be kept" in err
    assert Path(name).read_bytes() == before


def test_what_is_damaged_in_clips_is_not_built_upon(avsctl):
    before = Path("audio.h5").read_bytes()
    for name in ("clips.h5", "audio.h5"):
        _flip(Path(name), _place_in_clip(name))
    damaged = Path("audio.h5").read_bytes()
    code, _, err = avsctl(*CACHES["audio.h5"], "--repair")
    assert code == 2
    assert "is damaged in clips.h5. Run 'avsctl prepare' with --repair first" in err
    assert Path("audio.h5").read_bytes() == damaged
    for name in ("clips.h5", "audio.h5"):
        assert avsctl(*CACHES[name], "--repair")[0] == 0
    assert Path("audio.h5").read_bytes() == before


def test_a_repair_from_other_files_is_refused(avsctl, tmp_path, dataset, monkeypatch):
    import shutil

    other = shutil.copytree(dataset, tmp_path / "other")
    monkeypatch.setenv("AVSBENCH_ROOT", str(other))
    uid = _uid("clips.h5")
    frame = next(other.glob(f"*/{uid}/frames/0.jpg"))
    frame.write_bytes(frame.read_bytes()[:-1] + b"\x00")
    _flip(Path("clips.h5"), _place_in_clip("clips.h5"))
    code, _, err = avsctl(*CACHES["clips.h5"], "--repair")
    assert code == 2
    assert "are not those that clips.h5 was made of" in err or uid in err


def test_repair_and_overwrite_exclude_each_other(avsctl):
    for words in CACHES.values():
        code, _, err = avsctl(*words, "--repair", "--overwrite")
        assert code == 2 and "give one of them" in err


def test_a_damaged_checkpoint_is_found(avsctl):
    model = next(Path("runs").glob("avs/*/model.safetensors"))
    os.truncate(model, 1000)
    code, out, _ = avsctl("status", "--verify")
    assert code == 1
    assert "model.safetensors is not readable" in out and "avsctl train-avs --overwrite" in out
