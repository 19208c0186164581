"""`avsctl prepare` as one types it."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsctl.caches.clips import ClipCache

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def avsctl(typed, monkeypatch, tmp_path):
    """Run a command in an empty folder; gives exit code, stdout and stderr."""
    monkeypatch.delenv("AVSBENCH_ROOT", raising=False)
    monkeypatch.delenv("AVSCTL_WORKSPACE", raising=False)
    (tmp_path / "ws").mkdir()
    monkeypatch.chdir(tmp_path / "ws")
    return typed


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    shutil.copytree(DATA / "mini_avsbench/semantic", root)
    for frames in root.glob("*/*/frames"):
        soundfile.write(frames.with_name("audio.wav"), np.zeros(1600), 16000)
    return root


def _refused(result, *words):
    code, out, err = result
    lines = [line for line in err.splitlines() if not line.startswith("found ")]
    assert code == 2
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert not Path("clips.h5").exists()


def test_avsbench_goes_into_the_workspace(avsctl, root):
    code, out, err = avsctl("prepare", "avsbench", "--root", root, "--workers", 0, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["counts"] == {"ms3/val": 1, "s4/train": 1, "s4/val": 1, "v2/train": 1, "v2/val": 1}
    assert result["frames"] == 35
    assert f"found avsbench-semantic in {root}" in err
    assert len(ClipCache(Path(result["clips"]))) == 5


def test_a_second_run_says_up_to_date(avsctl, root):
    avsctl("prepare", "avsbench", "--root", root, "--workers", 0)
    code, _, err = avsctl("prepare", "avsbench", "--root", root, "--workers", 0)
    assert code == 0
    assert "up to date" in err


def test_frames_are_also_kept_at_a_models_size(avsctl, root):
    plain = json.loads(avsctl("prepare", "avsbench", "--root", root, "--workers", 0, "--json")[1])
    code, out, err = avsctl("prepare", "avsbench", "--root", root, "--workers", 0, "--cache-size", 32, "--json")
    assert code == 0
    assert json.loads(out) == {**plain, "decoded_size": 32}
    assert plain["decoded_size"] is None
    fresh = avsctl("prepare", "avsbench", "--root", root, "-w", "fresh", "--workers", 0, "--cache-size", 32)
    assert "clips.h5 will hold 35 frames decoded at 32x32: 107.5 KB" in fresh[2]
    assert "decoded at 32x32" in fresh[1]
    assert Path("fresh/clips.h5").read_bytes() == Path("clips.h5").read_bytes()


def test_the_dataset_is_found_below_the_workspace_or_by_the_variable(avsctl, root, monkeypatch, tmp_path):
    monkeypatch.setenv("AVSBENCH_ROOT", str(root))
    assert avsctl("prepare", "avsbench", "-w", tmp_path / "a", "--workers", 0)[0] == 0
    monkeypatch.delenv("AVSBENCH_ROOT")
    shutil.copytree(root, tmp_path / "b/AVSBench-semantic")
    assert avsctl("prepare", "avsbench", "-w", tmp_path / "b", "--workers", 0)[0] == 0


def test_no_dataset_anywhere_names_both_ways_out(avsctl):
    _refused(avsctl("prepare", "avsbench"), "--root", "$AVSBENCH_ROOT", "avsctl prepare synthetic")


def test_synthetic_is_drawn_where_avsbench_finds_it(avsctl):
    words = ("prepare", "synthetic", "--clips", 1, "--size", 32, "--workers", 0)
    code, out, _ = avsctl(*words, "--json")
    assert code == 0
    assert json.loads(out)["root"].endswith("AVSBench-synthetic")
    first = Path("clips.h5").read_bytes()
    assert "up to date" in avsctl("prepare", "avsbench", "--workers", 0)[2]
    assert "up to date" in avsctl(*words)[2]
    assert avsctl("prepare", "avsbench", "--workers", 0, "--overwrite")[0] == 0
    assert Path("clips.h5").read_bytes() == first


def test_a_folder_of_ones_own_is_read(avsctl, root, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(root / "v1s/aaaaaaaaaaa_4000_9000/frames", own / "one/frames")
    soundfile.write(own / "one/audio.wav", np.zeros(1600), 16000)
    (own / "clips.csv").write_text("uid,split,subset,labelled_frames\none,test,mine,none\n")
    (own / "classes.json").write_text('["background", "kettle"]')
    code, out, _ = avsctl("prepare", "folder", own, "--workers", 0, "--json")
    assert code == 0
    assert json.loads(out)["classes"] == 2


def test_a_config_file_gives_the_options(avsctl, root, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"command": "prepare avsbench", "root": str(root), "subset": "v2", "workers": 0}))
    code, out, _ = avsctl("prepare", "avsbench", "--config", config, "--json")
    assert code == 0
    assert json.loads(out)["counts"] == {"v2/train": 1, "v2/val": 1}
    config.write_text('{"command": "evaluate"}')
    _, _, err = avsctl("prepare", "avsbench", "--config", config)
    assert "not of 'avsctl prepare avsbench'" in err


def test_check_writes_nothing_and_succeeds_on_a_sound_dataset(avsctl, root):
    code, out, _ = avsctl("prepare", "avsbench", "--root", root, "--check", "--workers", 0)
    assert code == 0
    assert "1 labels hold colours outside the palette" in out
    assert list(Path().iterdir()) == []


def test_check_of_the_real_table_without_media_says_so(avsctl, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "metadata.csv").write_bytes(gzip.decompress((DATA / "avsbench_meta/metadata.csv.gz").read_bytes()))
    shutil.copy(DATA / "avsbench_meta/label2idx.json", bare)
    code, out, err = avsctl("prepare", "avsbench", "--root", bare, "--check", "--workers", 0)
    assert code == 2
    assert "8,498 │ 1,304 │ 1,554" in out
    assert "11,356 clips cannot be read: missing folder" in out
    assert "error: 11,356 of 11,356 clips cannot be read" in err
    row = next(line for line in out.splitlines() if "ms3" in line and "test" in line)
    assert [word for word in row.split() if word.isdigit()] == ["64", "38", "8", "39", "21"]


def test_check_exits_2_where_prepare_would(avsctl, root):
    (root / "v1m/ccccccccccc_0/frames/2.jpg").unlink()
    code, out, err = avsctl("prepare", "avsbench", "--root", root, "--check", "--workers", 0)
    assert code == 2
    assert "2.jpg is missing: the clip has 4 of its 5 frames" in out
    assert "--skip-broken" in err
    assert avsctl("prepare", "avsbench", "--root", root, "--check", "--skip-broken", "--workers", 0)[0] == 0


def test_skipped_clips_are_printed(avsctl, root):
    (root / "v1m/ccccccccccc_0/frames/2.jpg").unlink()
    code, out, _ = avsctl("prepare", "avsbench", "--root", root, "--skip-broken", "--workers", 0)
    assert code == 0
    assert "left out ccccccccccc_0: " in out
    assert "2.jpg is missing" in out


def _no_column(root):
    (root / "metadata.csv").write_text("vid,uid\na,b\n")


BAD = {
    "broken frame": (lambda root: (root / "v1m/ccccccccccc_0/frames/2.jpg").write_bytes(b"x"), "frames/2.jpg"),
    "no sound": (lambda root: (root / "v1m/ccccccccccc_0/audio.wav").unlink(), "audio.wav is missing"),
    "no frames": (lambda root: shutil.rmtree(root / "v1m/ccccccccccc_0/frames"), "frames is missing"),
    "no class file": (lambda root: (root / "label2idx.json").unlink(), "label2idx.json does not exist"),
    "no column": (_no_column, "lacks the column"),
    "empty table": (lambda root: (root / "metadata.csv").write_text(""), "lacks the column"),
    "no table": (lambda root: (root / "metadata.csv").unlink(), "holds no dataset"),
    "no folder": (lambda root: shutil.rmtree(root), "does not exist"),
}


@pytest.mark.parametrize("what, workers", [*((what, 0) for what in BAD), ("broken frame", 2)])
def test_bad_input_is_one_line_and_leaves_no_cache(avsctl, root, what, workers):
    damage, word = BAD[what]
    damage(root)
    _refused(avsctl("prepare", "avsbench", "--root", root, "--workers", workers), word)


@pytest.mark.parametrize("words", [("--subset", "v9"), ("--workers", "-1"), ("--root",)])
def test_wrong_options_exit_2(avsctl, root, words):
    code, _, err = avsctl("prepare", "avsbench", "--root", root, *words)
    assert code == 2
    assert "rror" in err


def test_a_file_that_is_no_cache_is_not_replaced_unasked(avsctl, root):
    Path("clips.h5").write_text("mine")
    code, _, err = avsctl("prepare", "avsbench", "--root", root, "--workers", 0)
    assert code == 2
    assert "clips.h5 is not a readable clips cache" in err
    assert Path("clips.h5").read_text() == "mine"
