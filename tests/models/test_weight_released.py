"""The list of released weights holds what the commands need, and names are found where fetching puts them."""

from __future__ import annotations

import re

import pytest

from avsctl_models.weights import released as listed
from avsctl_models.weights.released import fetched, find_released, released, weights_folder


@pytest.mark.parametrize("entry", released().values(), ids=lambda entry: entry.name)
def test_every_entry_says_where_it_is_and_what_reads_it(entry):
    assert entry.about and entry.read_by and entry.use
    assert sum(map(bool, (entry.page, entry.url, entry.hub))) == 1
    assert all(address.startswith("https://") for address in (entry.paper, entry.home, entry.page or entry.home))
    assert re.fullmatch(r"[0-9a-f]*", entry.sha256) and len(entry.sha256) <= 64
    assert not (entry.sha256 or entry.bytes) or entry.url  # only of a file that we fetch ourselves
    for score in entry.scores:
        assert score.subset in ("s4", "ms3", "all") and score.by in ("paper", "authors", "user")
        assert 1 < score.miou < score.f_score < 100  # percent
        assert bool(score.where) == (score.by == "user")


def test_names_are_short_and_need_no_quotes():
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in released())


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="known as 'vgg'; there are: .*vggish"):
        find_released("vgg")


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv(listed.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "avsctl" / "weights"
    monkeypatch.setenv(listed.FOLDER_VARIABLE, str(tmp_path / "mine"))
    assert weights_folder() == tmp_path / "mine"


def test_a_fetched_file_has_its_own_name(tmp_path):
    entry = find_released("vggish")
    home = tmp_path / "vggish"
    home.mkdir()
    (home / f"{entry.filename}.part").touch()
    assert entry.filename == "vggish-10086976.pth" and fetched(entry, tmp_path) is None
    (home / entry.filename).touch()
    assert fetched(entry, tmp_path) == home / entry.filename


def test_a_file_put_there_by_hand_may_have_any_name(tmp_path):
    entry = find_released("stepping-stones-s4")
    assert fetched(entry, tmp_path) is None
    home = tmp_path / "stepping-stones-s4"
    home.mkdir()
    (home / "S4 best.ckpt").touch()
    (home / "S4 best.json").touch()
    assert fetched(entry, tmp_path) == home / "S4 best.ckpt"
    (home / "other.ckpt").touch()
    assert fetched(entry, tmp_path) is None  # which one is meant?


def test_a_repository_needs_its_sizes_and_its_weights(tmp_path):
    entry = find_released("mask2former-swin-b-ade")
    home = tmp_path / entry.name
    home.mkdir()
    (home / "config.json").touch()
    assert fetched(entry, tmp_path) is None
    (home / "model.safetensors").touch()
    assert fetched(entry, tmp_path) == home
