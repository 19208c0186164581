"""Clips cut from videos, without labels: what works with them, and what says that it can't."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from avsctl.caches.clips import ClipCache
from avsctl.caches.priors import PriorCache

sys.path.append(str(Path(__file__).parents[1] / "rendering"))
from made_videos import make_video  # noqa: E402


@pytest.fixture
def avsctl(typed, monkeypatch, tmp_path):
    """Run a command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return typed


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, level in (("one", 40), ("two", 90)):
        wave = np.random.default_rng(level).uniform(-0.3, 0.3, 32000).astype(np.float32)
        frames = [np.full((48, 64, 3), level + n, np.uint8) for n in range(8)]
        make_video(folder / f"{name}.mp4", frames, [n / 4 for n in range(8)], wave=wave)
    return folder


def test_videos_alone_give_clips_priors_and_pictures(avsctl, videos, two_stage_workspace):
    assert avsctl("prepare", "videos", videos, "--cut", "whole")[0] == 0
    clips = ClipCache(Path("clips.h5"))
    assert (clips.uids, clips.splits, clips.label_kind) == (["one", "two"], ["test", "test"], "none")
    assert [clips.frame_count(clip) for clip in range(2)] == [2, 2]
    assert "without labels" in avsctl("status")[1]
    assert avsctl("extract-audio", "--workers", "1")[0] == 0
    code, out, _ = avsctl("status")
    assert (code, out.splitlines()[-1]) == (0, "next: avsctl visualize --split all --avs RUN")
    for task in ("avs", "avss"):
        shutil.copytree(two_stage_workspace / "runs" / task, Path("runs") / task)
    code, _, err = avsctl("predict-priors", "--device", "cpu")
    assert code == 0, err
    assert PriorCache(Path("priors/predicted.h5")).maps("one").shape == (2, 224, 224)
    code, out, err = avsctl("visualize", "--split", "all", "--device", "cpu", "--only", "stills")
    assert code == 0, err
    assert out.splitlines()[-1] == "2 clips: none is labelled"
    content = json.loads(Path("visualize/clips-all/clips.json").read_text())
    assert content["models"]["avss"]["name"].startswith("aavs-tiny")
    assert {frame["truth"] for clip in content["clips"] for frame in clip["frames"]} == {None}


def test_without_labels_nothing_is_learnt_or_scored(avsctl, videos, two_stage_workspace):
    avsctl("prepare", "videos", videos, "--cut", "whole")
    table = Path("clips/clips.csv")
    table.write_text(table.read_text().replace("two,test", "two,val").replace("one,test", "one,train"))
    assert avsctl("prepare", "folder", "clips", "--overwrite")[0] == 0
    avsctl("extract-audio", "--workers", "1")
    shutil.copytree(two_stage_workspace / "runs", "runs")
    for words in (("train-avs",), ("train-avss", "--prior", "none"), ("train-avss", "--prior", "predicted")):
        code, out, err = avsctl(*words, "--preset", "tiny", "--seed", "9", "--device", "cpu")
        assert (code, [line for line in out.splitlines() if "preset" not in line]) == (2, [])
        assert "No labelled frame in the 1 clips of subset all, split train" in err.splitlines()[-1]
    code, _, err = avsctl("evaluate", "--split", "val", "--device", "cpu")
    assert code == 2
    assert "has a labelled frame: nothing can be scored" in err.splitlines()[-1]


def test_broken_videos_are_listed_at_the_end(avsctl, videos):
    (videos / "a.mp4").touch()
    (videos / "b.mkv").write_bytes(b"text")
    code, out, err = avsctl("prepare", "videos", videos, "--cut", "5", "--json")
    assert code == 1
    assert json.loads(out)["counts"] == {"videos/test": 2}
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [word in line for word, line in zip(("a.mp4", "b.mkv", "2 of 4 videos"), errors, strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "no video at nowhere"),
        (["videos", "--cut", "half"], "neither a whole number"),
        (["videos", "--subset", "all"], "all means every subset"),
        (["videos", "--subset", "a/b"], "no plain name"),
        ([], "DIR|VIDEO"),
    ],
)
def test_wrong_use_is_one_clear_error(avsctl, videos, tmp_path, words, says):
    code, out, err = avsctl("prepare", "videos", *words)
    assert (code, out) == (2, "")
    assert says in err and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]
