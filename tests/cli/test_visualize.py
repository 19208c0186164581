"""`avsctl visualize` as one types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.append(str(Path(__file__).parents[1] / "rendering"))
from made_videos import make_video  # noqa: E402


@pytest.fixture
def avsctl(typed, monkeypatch, two_stage_workspace, tmp_path):
    """Run a command on the two-stage workspace; gives exit code, stdout and stderr."""
    monkeypatch.setenv("AVSCTL_WORKSPACE", str(two_stage_workspace))
    monkeypatch.chdir(tmp_path)
    return typed


@pytest.fixture
def video(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 16000).astype(np.float32)
    frames = [np.full((48, 64, 3), 20 * n, np.uint8) for n in range(10)]
    return make_video(tmp_path / "a clip.mp4", frames, [n / 10 for n in range(10)], wave=wave)


def test_it_prints_the_runs_the_paths_and_what_sounded(avsctl, video):
    code, out, err = avsctl("visualize", video, "--out", "drawn", "--device", "cpu")
    assert code == 0, err
    lines = out.splitlines()
    endings = ("-overlay.mp4", "-sheet.png", "-timeline.png", "-masks", ".json")
    assert lines[:5] == [f"drawn/a clip{ending}" for ending in endings]
    assert all(Path(line).exists() for line in lines[:5])
    assert lines[-1].startswith(("sounded: ", "nothing sounded"))
    assert "avs: aavs-tiny-all-none-s3407" in err
    assert "avss: aavs-tiny-all-oracle-s3407" in err
    assert list(Path("drawn").glob(".*")) == []


def test_a_second_time_says_that_it_is_up_to_date(avsctl, video):
    first = avsctl("visualize", video, "--out", "drawn", "--device", "cpu")
    code, out, _ = avsctl("visualize", video, "--out", "drawn", "--device", "cpu")
    assert code == 0
    assert "up to date" in out
    assert out.splitlines()[-1] == first[1].splitlines()[-1]


def test_json_is_for_machines(avsctl, video):
    code, out, _ = avsctl("visualize", video, "--out", "drawn", "--device", "cpu", "--json")
    assert code == 0
    (content,) = json.loads(out)["videos"]
    assert content["fresh"] is True
    assert content["video"]["frames_shown"] == 10
    assert content["models"]["avss"]["name"] == "aavs-tiny-all-oracle-s3407"


def test_clips_of_the_workspace(avsctl):
    code, out, err = avsctl(
        "visualize", "--split", "test", "--clips", "1", "--subset", "s4", "--out", "drawn", "--device", "cpu",
        "--prefetch", "0",
    )  # fmt: skip
    assert code == 0, err
    assert "drawn/clips-test-s4/summary.png" in out
    assert out.splitlines()[-1].startswith("1 clips: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "For example: 'avsctl visualize video.mp4'"),
        (["video.mp4", "--split", "test"], "not both"),
        (["video.mp4", "--clips", "3"], "--clips belongs to --split"),
        (["--split", "test", "--fps", "2"], "--fps belongs to a video"),
        (["--split", "test", "--start", "2"], "--start belongs to a video"),
        (["video.mp4", "--start", "1:x"], "is no time"),
        (["video.mp4", "--start", "3", "--end", "2"], "not after --start"),
        (["none/*.mp4"], "No file fits the pattern"),
        (["video.mp4", "--fps", "0"], "--fps"),
        (["video.mp4", "--alpha", "1.5"], "--alpha"),
        (["none.mp4"], "no video at none.mp4"),
        (["."], "is a folder without videos"),
        (["--split", "test", "--subset", "s5"], "no clip of subset s5"),
    ],
)
def test_wrong_use_is_one_clear_error(avsctl, tmp_path, words, says):
    code, out, err = avsctl("visualize", *words)
    assert code == 2
    assert out == ""
    assert says in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_video_is_one_clear_line_and_leaves_nothing(avsctl, video, tmp_path):
    soundfile.write(tmp_path / "sound.wav", np.zeros(1600), 16000)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:300])
    before = sorted(tmp_path.iterdir())
    for name, says in (("sound.wav", "sound only"), ("empty.mp4", "empty"), ("cut.mp4", "cannot be opened")):
        code, out, err = avsctl("visualize", name, "--out", "drawn")
        assert (code, out) == (2, "")
        (line,) = err.splitlines()
        assert line.startswith("error: ")
        assert says in line
    assert sorted(tmp_path.iterdir()) == before


def test_a_workspace_without_runs_names_what_to_run(avsctl, video):
    code, out, err = avsctl("visualize", video, "--workspace", "elsewhere")
    assert (code, out) == (2, "")
    assert "avsctl train-avs" in err
    assert not Path("elsewhere").exists()


def test_options_come_from_a_config_file(avsctl, video, tmp_path):
    (tmp_path / "options.json").write_text(json.dumps({"out": "drawn", "fps": 1.0, "device": "cpu"}))
    code, _, err = avsctl("visualize", video, "--config", "options.json")
    assert code == 0, err
    assert len(list(Path("drawn/a clip-masks").iterdir())) == 1


def test_broken_videos_of_a_folder_do_not_stop_the_others(avsctl, video, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("b.mp4", "d.mp4"):
        (folder / name).write_bytes(video.read_bytes())
    (folder / "a.mp4").touch()
    (folder / "c.mkv").write_bytes(b"no video at all" * 99)
    code, out, err = avsctl("visualize", folder, "--out", "drawn", "--device", "cpu", "--only", "stills")
    assert code == 1
    assert [name for name in ("a", "b", "c", "d") if Path(f"drawn/{name}.json").exists()] == ["b", "d"]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [part in line for part, line in zip(("a.mp4 is empty", "c.mkv", "2 of 4 videos"), errors, strict=True)] == [
        True, True, True
    ]  # fmt: skip
    assert out.count("drawn/b.json") == out.count("drawn/d.json") == 1
    assert {path.name[0] for path in Path("drawn").iterdir()} == {"b", "d"}
    code, out, _ = avsctl("visualize", folder / "*.m*", "--out", "drawn", "--only", "stills", "--json")
    content = json.loads(out)
    assert code == 1
    assert [result["fresh"] for result in content["videos"]] == [False, False]
    assert [Path(failure["path"]).name for failure in content["failed"]] == ["a.mp4", "c.mkv"]


def test_what_is_wrong_with_the_models_stops_all(avsctl, video, tmp_path):
    code, out, err = avsctl("visualize", video, tmp_path / "b.mp4", "--classes", "unicorn", "--device", "cpu")
    assert (code, out) == (2, "")
    assert "No class unicorn" in err.splitlines()[-1]


def test_a_stretch_of_the_video_in_minutes_and_only_some_classes(avsctl, video):
    code, out, err = avsctl(
        "visualize", video, "--out", "drawn", "--device", "cpu", "--start", "0:00.3", "--end", "0.8", "--classes",
        "dog,cat", "--only", "video", "--transparent",
    )  # fmt: skip
    assert code == 0, err
    assert out.splitlines()[:2] == ["drawn/a clip-overlay.mp4", "drawn/a clip-overlay.webm"]
    content = json.loads(Path("drawn/a clip.json").read_text())
    assert (content["video"]["start"], content["video"]["end"]) == (0.3, 0.8)
    assert content["options"]["classes"] == ["dog", "cat"]


def test_runs_side_by_side(avsctl, video, two_stage_workspace):
    runs = two_stage_workspace / "runs/avss"
    code, out, err = avsctl(
        "visualize", video, "--out", "drawn", "--device", "cpu", "--only", "stills",
        "--compare", f"one stage={runs / 'aavs-tiny-all-none-s3407'}", "--compare", "aavs-tiny-all-oracle-s3407",
    )  # fmt: skip
    assert code == 0, err
    assert out.splitlines()[0] == "drawn/a clip-compare-sheet.png"
    assert out.splitlines()[-1].startswith("one stage: ")
