"""`--shard` on several machines and `avsctl merge-caches`: what comes out is what one machine makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

DATA = Path(__file__).parents[1] / "data"
SHARES = (1, 2, 3)


@pytest.fixture
def root(tmp_path):
    """Five clips, each with a sound of its own."""
    root = tmp_path / "data"
    shutil.copytree(DATA / "mini_avsbench/semantic", root)
    for number, frames in enumerate(sorted(root.glob("*/*/frames"))):
        soundfile.write(frames.with_name("audio.wav"), np.sin(np.arange(32000) * (number + 1) / 50), 16000)
    return root


@pytest.fixture
def avsctl(typed, monkeypatch, tmp_path):
    """Run a command in an empty folder, with one process."""
    monkeypatch.delenv("AVSCTL_WORKSPACE", raising=False)
    (tmp_path / "ws").mkdir()
    monkeypatch.chdir(tmp_path / "ws")
    return typed


@pytest.fixture
def prepared(avsctl, root):
    """`prepared(numbers, of, words…)` makes shares of clips.h5 in the current folder."""

    def prepare(numbers, *words, of=3):
        for number in numbers:
            shard = f"{number}/{of}"
            made = avsctl("prepare", "avsbench", "--root", root, "--workers", 0, "--shard", shard, *words)
            assert made[0] == 0, made[2]

    return prepare


def _whole(avsctl, root, *words):
    """What one machine makes."""
    assert avsctl("prepare", "avsbench", "--root", root, "--workers", 0, "-w", "one", *words)[0] == 0
    assert avsctl("extract-audio", "--workers", 0, "-w", "one")[0] == 0
    return [Path("one", name).read_bytes() for name in ("clips.h5", "audio.h5")]


def _refused(result, *words):
    code, _, err = result
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, len(lines)) == (2, 1), err
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("words", [(), ("--cache-size", 32), ("--subset", "s4")])
def test_clips_are_joined_first_and_their_sound_is_extracted_by_shares_afterwards(avsctl, root, prepared, words):
    of = 2
    prepared((2, 1), *words, of=of)
    assert avsctl("merge-caches")[:2] == (0, "clips.h5 is whole\n")
    for number in (1, 2):
        assert avsctl("extract-audio", "--workers", 0, "--shard", f"{number}/{of}")[0] == 0
    code, out, err = avsctl("merge-caches", "--remove")
    assert (code, out) == (0, "clips.h5 is whole\naudio.h5 is whole\n") and "clips.h5 is up to date" in err
    assert [Path(name).read_bytes() for name in ("clips.h5", "audio.h5")] == _whole(avsctl, root, *words)
    assert sorted(path.name for path in Path().iterdir()) == ["audio.h5", "clips.h5", "one"]


def test_sound_is_extracted_from_shares_and_all_is_joined_at_once(avsctl, root, prepared):
    prepared(SHARES)
    for number in SHARES:
        assert avsctl("extract-audio", "--workers", 0, "--shard", f"{number}/3")[0] == 0
    assert avsctl("merge-caches")[0] == 0
    assert [Path(name).read_bytes() for name in ("clips.h5", "audio.h5")] == _whole(avsctl, root)
    # A share that was extracted before is what would be extracted after.
    before = Path("audio.shard-2-of-3.h5").stat().st_mtime_ns
    assert avsctl("extract-audio", "--workers", 0, "--shard", "2/3")[0] == 0
    assert Path("audio.shard-2-of-3.h5").stat().st_mtime_ns == before


def test_broken_clips_are_listed_for_all_shares_together(avsctl, root, prepared):
    (root / "v1m/ccccccccccc_0/frames/2.jpg").unlink()
    prepared((1, 2), "--skip-broken", of=2)
    assert avsctl("merge-caches", "--remove")[0] == 0
    assert Path("clips.h5").read_bytes() == _whole(avsctl, root, "--skip-broken")[0]
    assert Path("clips.skipped.json").read_bytes() == Path("one/clips.skipped.json").read_bytes()
    assert [clip["uid"] for clip in json.loads(Path("clips.skipped.json").read_text())] == ["ccccccccccc_0"]
    assert not list(Path().glob("*.shard-*"))


def test_a_missing_share_is_named_with_its_command(avsctl, prepared):
    prepared((1, 3))
    _refused(avsctl("merge-caches"), "clips.shard-2-of-3.h5", "avsctl prepare avsbench --shard 2/3")
    assert not Path("clips.h5").exists()
    status = json.loads(avsctl("status", "--json")[1])
    assert status["shares"] == [{"name": "clips.h5", "of": [3], "there": ["1/3", "3/3"], "missing": ["2/3"]}]
    assert status["next"] == ["avsctl prepare avsbench --shard 2/3"]
    assert "clips.h5: 2 of 3 shares are there, 2/3 is missing" in avsctl("status")[1]


def test_status_says_when_shares_can_be_joined_and_when_they_are(avsctl, prepared):
    prepared((1, 2), of=2)
    assert "clips.h5: all 2 shares are there" in avsctl("status")[1]
    assert json.loads(avsctl("status", "--json")[1])["next"] == ["avsctl merge-caches"]
    avsctl("merge-caches")
    assert json.loads(avsctl("status", "--json")[1])["next"] == ["avsctl extract-audio"]
    avsctl("extract-audio", "--workers", 0, "--shard", "2/2")
    assert json.loads(avsctl("status", "--json")[1])["next"] == ["avsctl extract-audio --shard 1/2"]
    avsctl("extract-audio", "--workers", 0, "--shard", "1/2")
    assert json.loads(avsctl("status", "--json")[1])["next"] == ["avsctl merge-caches"]


def test_no_shares_at_all_is_one_line(avsctl):
    _refused(avsctl("merge-caches"), "No shares", "--shard i/n")


def test_shares_of_different_wholes_are_refused(avsctl, prepared):
    prepared((1, 2), of=2)
    prepared((1,), of=3)
    _refused(avsctl("merge-caches"), "shares of 2 and of 3 of clips.h5", "Delete")


def test_a_share_under_the_name_of_another_is_refused(avsctl, prepared):
    prepared((1,), of=2)
    shutil.copy("clips.shard-1-of-2.h5", "clips.shard-2-of-2.h5")
    _refused(avsctl("merge-caches"), "clips.shard-2-of-2.h5", "1/2")


def test_shares_of_a_dataset_that_changed_in_between_are_refused(avsctl, root, prepared):
    prepared((1,), of=2)
    with (root / "v1s/bbbbbbbbbbb_0_5000/frames/0.jpg").open("ab") as file:
        file.write(b"more")
    prepared((2,), of=2)
    _refused(avsctl("merge-caches"), "content", "--overwrite")


def test_shares_with_other_options_are_refused(avsctl, prepared):
    prepared((1,), of=2)
    prepared((2,), "--cache-size", 32, of=2)
    _refused(avsctl("merge-caches"), "--cache-size", "32")


def test_a_clip_in_two_shares_is_refused(avsctl, prepared):
    prepared((1,), of=2)
    shutil.copy("clips.shard-1-of-2.h5", "clips.shard-2-of-2.h5")
    with h5py.File("clips.shard-2-of-2.h5", "r+") as file:
        file.attrs["options"] = np.bytes_(file.attrs["options"].replace(b"1/2", b"2/2"))
    _refused(avsctl("merge-caches"), "is in clips.shard-1-of-2.h5 and in clips.shard-2-of-2.h5")


def test_sound_of_other_clips_or_another_encoder_is_refused(avsctl, root, prepared):
    prepared((1, 2), of=2)
    avsctl("merge-caches")
    for number in (1, 2):
        avsctl("extract-audio", "--workers", 0, "--shard", f"{number}/2")
    with h5py.File("audio.shard-2-of-2.h5", "r+") as file:
        file.attrs["options"] = np.bytes_(file.attrs["options"].replace(b"logmel", b"yamnet"))
    _refused(avsctl("merge-caches"), "differ in encoder")
    shutil.copy(root / "v1m/ccccccccccc_0/frames/2.jpg", root / "v1m/ccccccccccc_0/frames/1.jpg")
    avsctl("prepare", "avsbench", "--root", root, "--workers", 0, "--overwrite")
    for path in Path().glob("clips.shard-*"):
        path.unlink()
    avsctl("extract-audio", "--workers", 0, "--shard", "2/2", "--overwrite")
    _refused(avsctl("merge-caches"), "was not made from the clips of its share", "extract-audio --shard")


def test_a_damaged_clip_is_named_and_nothing_is_written(avsctl, prepared):
    prepared((1, 2), of=2)
    with h5py.File("clips.shard-2-of-2.h5", "r+") as file:
        file["frames/data"][500] ^= 1
    _refused(avsctl("merge-caches"), "clips.shard-2-of-2.h5: clip", "damaged", "--shard 2/2 --repair")
    assert not Path("clips.h5").exists() and not list(Path().glob("*.part"))
    prepared((2,), "--repair", of=2)
    assert avsctl("merge-caches")[0] == 0


def test_a_cache_made_from_something_else_is_not_replaced_without_overwrite(avsctl, root, prepared):
    avsctl("prepare", "avsbench", "--root", root, "--workers", 0, "--subset", "s4")
    prepared((1, 2), of=2)
    _refused(avsctl("merge-caches"), "clips.h5 is there", "--overwrite")
    assert avsctl("merge-caches", "--overwrite")[0] == 0


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2", "1/0"])
def test_what_is_no_share_is_refused(avsctl, root, text):
    code, _, err = avsctl("prepare", "avsbench", "--root", root, "--shard", text)
    assert code == 2 and "is no share: give i/n" in err


def test_too_many_shares_and_a_check_of_one_are_refused(avsctl, root):
    _refused(avsctl("prepare", "avsbench", "--root", root, "--shard", "3/50"), "5 clips are too few for 50 shares")
    _refused(avsctl("prepare", "avsbench", "--root", root, "--shard", "1/2", "--check"), "leave out --shard")
