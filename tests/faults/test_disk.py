"""Disks that are full or read-only, and files that go away under a command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avsctl.caches import shards
from avsctl.caches.clips import ClipCache
from avsctl.cli import cli
from avsctl.cli._console import run_guarded
from avsctl.errors import AvsctlError

PREPARE = ("prepare", "avsbench", "--workers", 0, "--workspace", ".")


class Disk:
    """A small disk of its own."""

    def __init__(self, place: Path):
        self.place = place

    def mount(self, options: str) -> None:
        """Mount it, or change it."""
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small disk needs more rights")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    place = tmp_path / "disk"
    place.mkdir()
    yield Disk(place)
    monkeypatch.undo()
    os.chdir(tmp_path)
    subprocess.run(["umount", str(place)], capture_output=True)


@pytest.fixture
def avsctl(disk, tiny_workspace, monkeypatch, capfd):
    """Run a command on the small disk; gives exit code and stderr."""
    monkeypatch.setenv("AVSBENCH_ROOT", str(tiny_workspace / "AVSBench-synthetic"))
    monkeypatch.setenv("COLUMNS", "400")

    def run(*words):
        monkeypatch.chdir(disk.place)
        monkeypatch.setattr(sys, "argv", ["avsctl", *map(str, words)])
        code = run_guarded(cli)
        return code, capfd.readouterr().err

    return run


def _size(workspace: Path) -> int:
    return (workspace / "clips.h5").stat().st_size


def test_what_cannot_fit_is_refused_with_both_numbers(disk, avsctl, tiny_workspace):
    disk.mount(f"size={_size(tiny_workspace)}")
    code, err = avsctl(*PREPARE)
    assert code == 2
    assert "clips.h5 needs about" in err and "are free there" in err
    assert list(disk.place.iterdir()) == []


def test_a_disk_that_gets_full_costs_nothing_that_was_finished(disk, avsctl, tiny_workspace, monkeypatch):
    disk.mount(f"size={_size(tiny_workspace) // 2}")
    monkeypatch.setattr(shards, "check_space", lambda *given: None)
    code, err = avsctl(*PREPARE)
    assert code == 2
    assert err.splitlines()[-1].startswith("error: The disk is full: ")
    assert "same command again" in err
    done = sorted(disk.place.rglob("*.npz"))
    assert done and not list(disk.place.rglob("*.part"))
    before = [path.stat().st_mtime_ns for path in done[:1]]
    disk.mount(f"remount,size={4 * _size(tiny_workspace)}")
    assert [path.stat().st_mtime_ns for path in done[:1]] == before
    code, err = avsctl(*PREPARE)
    assert code == 0 and "of 18 clips are read already" in err
    assert (disk.place / "clips.h5").read_bytes() == (tiny_workspace / "clips.h5").read_bytes()


def test_a_disk_that_gets_full_in_the_last_write_says_so_too(disk, avsctl, tiny_workspace, monkeypatch):
    disk.mount(f"size={int(1.5 * _size(tiny_workspace))}")
    monkeypatch.setattr(shards, "check_space", lambda *given: None)
    code, err = avsctl(*PREPARE)
    assert code == 2
    assert "error: The disk is full: clips.h5 could not be written" in err
    assert not (disk.place / "clips.h5").exists() and not list(disk.place.rglob("*.part"))


def test_a_read_only_folder_is_one_line(disk, avsctl):
    disk.mount("size=1m")
    disk.mount("remount,ro")
    code, err = avsctl(*PREPARE)
    assert code == 2
    assert "Read-only file system" in err.splitlines()[-1] and len(err.splitlines()) == 2


def test_a_cache_that_goes_away_or_is_replaced_under_a_reader_is_named(tiny_workspace, tmp_path):
    path = Path(shutil.copy(tiny_workspace / "clips.h5", tmp_path))
    gone, replaced = ClipCache(path), ClipCache(path)
    path.unlink()
    with pytest.raises(AvsctlError, match="No clips cache at .*avsctl prepare"):
        gone.frame_bytes(0)
    other = _other_clips(tmp_path)
    os.replace(other, path)
    with pytest.raises(AvsctlError, match="clips.h5 was replaced while this command was reading it"):
        replaced.frame_bytes(0)


def _other_clips(folder: Path) -> Path:
    import numpy as np

    from avsctl.caches.clips import ClipRecord, assemble_clips

    clip = ClipRecord("a", "a", "s4", "train", [b"frame"], [b""], b"").arrays()
    about = {"classes": ["background", "kettle"], "palette": np.zeros((2, 3), np.uint8), "label_kind": "semantic"}
    return assemble_clips(folder / "other.h5", lambda: [clip], options={}, **about)
