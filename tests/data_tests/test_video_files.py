"""Which videos paths, folders and patterns mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsctl.data.video_files import find_videos, result_names
from avsctl.errors import AvsctlError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.MOV", "notes.txt", ".hidden.mp4", "sound.wav"):
        (tmp_path / name).touch()
    (tmp_path / "more.mp4").mkdir()
    return tmp_path


def test_a_folder_gives_its_videos_by_name(folder):
    assert [path.name for path in find_videos([folder])] == ["a.MOV", "b.mp4"]


def test_a_pattern_that_no_shell_has_expanded_is_expanded(folder):
    assert find_videos([folder / "*.mp4"]) == [folder / "b.mp4"]


def test_a_named_file_is_taken_as_it_is_and_each_only_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    given = [Path("missing.mp4"), Path("notes.txt"), folder / "b.mp4", Path("b.mp4"), Path()]
    assert [path.name for path in find_videos(given)] == ["missing.mp4", "notes.txt", "b.mp4", "a.MOV"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    (tmp_path / "clip [1].mp4").touch()
    assert find_videos([tmp_path / "clip [1].mp4"]) == [tmp_path / "clip [1].mp4"]


@pytest.mark.parametrize("given", ["empty", "*.mkv"])
def test_nothing_to_take_is_said(folder, given):
    (folder / "empty").mkdir()
    with pytest.raises(AvsctlError, match="without videos|No file fits"):
        find_videos([folder / given])


def test_results_of_different_videos_have_different_names():
    videos = [Path(name) for name in ("x/a.mp4", "x/b.mp4", "x/b.mov", "y/C.mp4", "z/c.mp4")]
    names = result_names(videos)
    assert list(names.values()) == ["a", "b_mp4", "b_mov", "y_C_mp4", "z_c_mp4"]
