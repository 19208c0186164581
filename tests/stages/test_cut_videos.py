"""Videos into a clip set without labels."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from avsctl.data.folder import Folder
from avsctl.errors import AvsctlError
from avsctl.stages import cut_videos as stage
from avsctl.stages.cut_videos import cut_videos

sys.path.append(str(Path(__file__).parents[1] / "rendering"))
from made_videos import make_video  # noqa: E402


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, seconds in (("a", 3), ("b", 5)):
        make(folder / f"{name}.mp4", seconds)
    return folder


def make(path, seconds):
    frames = [np.full((16, 24, 3), 9 * n, np.uint8) for n in range(4 * seconds)]
    return make_video(path, frames, [n / 4 for n in range(4 * seconds)], wave=np.zeros(16000 * seconds, np.float32))


def rows(out):
    with (out / "clips.csv").open() as file:
        return list(csv.DictReader(file))


def test_clips_lie_in_the_neutral_layout(videos, tmp_path):
    cut = cut_videos([videos], tmp_path / "clips", length=2)
    assert (cut.new, cut.kept, cut.failed) == (["a", "b"], [], [])
    dataset = Folder(tmp_path / "clips")
    assert {entry.uid: (entry.video, entry.frames) for entry in dataset.entries} == {
        "a_0_2000": ("a", 2), "a_2000_3000": ("a", 1),
        "b_0_2000": ("b", 2), "b_2000_4000": ("b", 2), "b_4000_5000": ("b", 1),
    }  # fmt: skip
    assert {(entry.subset, entry.split) for entry in dataset.entries} == {("videos", "test")}
    assert dataset.label_kind == "none"
    assert len(dataset.load(dataset.entries[0]).record.frames) == 2
    assert not list((tmp_path / "clips").glob(".*"))


def test_more_videos_join_and_what_was_changed_by_hand_stays(videos, tmp_path):
    out = tmp_path / "clips"
    cut_videos([videos / "a.mp4"], out, length=None)
    text = (out / "clips.csv").read_text().replace("a,test,videos", "a,train,own")
    (out / "clips.csv").write_text(text)
    (out / "a/labels").mkdir()
    (out / "a/labels/0.png").touch()
    cut = cut_videos([videos], out, length=None)
    assert (cut.new, cut.kept) == (["b"], ["a"])
    assert [(row["uid"], row["split"], row["subset"]) for row in rows(out)] == [
        ("a", "train", "own"), ("b", "test", "videos")
    ]  # fmt: skip
    assert (out / "a/labels/0.png").exists()


def test_broken_videos_are_named_and_the_others_cut(videos, tmp_path):
    (videos / "broken.mp4").write_bytes(b"no video")
    (videos / "empty.mkv").touch()
    cut = cut_videos([videos, tmp_path / "missing.mp4"], tmp_path / "clips")
    assert cut.new == ["a", "b"]
    assert [failure.path.name for failure in cut.failed] == ["broken.mp4", "empty.mkv", "missing.mp4"]
    assert all(failure.reason for failure in cut.failed)
    with pytest.raises(AvsctlError, match="Not one video can be cut: .*broken.mp4"):
        cut_videos([videos / "broken.mp4"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_clips_are_not_replaced_unasked(videos, tmp_path):
    out = tmp_path / "clips"
    cut_videos([videos], out, length=2)
    make(videos / "a.mp4", 2)
    cut = cut_videos([videos], out, length=2)
    assert (cut.kept, [failure.path.name for failure in cut.failed]) == (["b"], ["a.mp4"])
    assert "--overwrite" in cut.failed[0].reason
    assert cut_videos([videos], out, length=2, overwrite=True).new == ["a"]
    assert {row["uid"] for row in rows(out)} == {"a_0_2000", "b_0_2000", "b_2000_4000", "b_4000_5000"}
    assert not (out / "a_2000_3000").exists()


def test_a_stop_in_between_leaves_a_folder_to_go_on_with(videos, tmp_path, monkeypatch):
    out, replaced = tmp_path / "clips", []

    def stop_at_second(source, target):
        if Path(target).name.startswith("a_"):
            replaced.append(target)
            if len(replaced) == 2:
                raise KeyboardInterrupt
        return real(source, target)

    real = stage.os.replace
    monkeypatch.setattr(stage.os, "replace", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        cut_videos([videos], out, length=1)
    monkeypatch.setattr(stage.os, "replace", real)
    assert cut_videos([videos], out, length=1).new == ["a", "b"]
    assert len(rows(out)) == 8


def test_a_folder_of_other_things_is_left_alone(videos, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/letter.txt").touch()
    with pytest.raises(AvsctlError, match="holds other files"):
        cut_videos([videos], tmp_path / "clips")
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["letter.txt"]
