"""`--check` finds what users should know."""

from __future__ import annotations

import pytest

from avsctl.data.check import check, shared_videos
from avsctl.data.layouts import open_dataset


@pytest.fixture(scope="module")
def real_report(real_tables):
    return check(open_dataset(real_tables / "semantic"), workers=0)


def test_the_real_counts_are_as_published(real_report):
    found = {
        subset: [splits[split]["clips"] for split in ("train", "val", "test")]
        for subset, splits in real_report["counts"].items()
    }
    assert found == {"ms3": [296, 64, 64], "s4": [3452, 740, 740], "v2": [4750, 500, 750]}
    assert all(cell["clips"] == cell["expected"] for row in real_report["counts"].values() for cell in row.values())


def test_media_that_are_not_there_are_said_to_be_missing(real_report):
    assert real_report["broken_kinds"] == {"missing folder": 11356}
    assert not real_report["usable"]


def test_source_videos_shared_with_training_clips_in_the_real_table(real_report):
    rows = {(row["subset"], row["split"]): row for row in real_report["shared_videos"]}
    assert (rows["ms3", "test"]["same_subset"], rows["ms3", "test"]["any_subset"]) == (38, 39)
    assert rows["ms3", "val"]["any_subset"] == 41
    assert rows["s4", "test"]["other_subset"] == rows["s4", "test"]["any_subset"] == 7
    assert rows["v2", "test"]["other_subset"] == rows["v2", "test"]["any_subset"] == 7


def test_the_real_dirt_is_named(real_report):
    assert real_report["no_class"] == {"h orse": 1, "off-the-screen": 27}


def test_the_object_tables_share_as_many_within_ms3(real_tables):
    rows = {(r["subset"], r["split"]): r for r in shared_videos(open_dataset(real_tables / "object").entries)}
    assert rows["ms3", "test"]["same_subset"] == 38
    assert rows["s4", "test"]["same_subset"] == 0


def test_a_sound_dataset_is_usable_and_its_oddities_are_listed(semantic_root):
    table = semantic_root / "metadata.csv"
    table.write_text(table.read_text().replace("girl_guitar", "girl"))
    report = check(open_dataset(semantic_root), workers=0)
    assert report["usable"]
    assert list(report["off_palette"].values()) == [36]
    assert report["stray_classes"] == {"ddddddddddd_16000_26000": ["guitar"]}
    assert report["videos_in_two_splits"] == {"all": 1, "ms3": 0, "s4": 0, "v2": 1}


def test_broken_files_are_listed_with_any_number_of_workers(semantic_root):
    (semantic_root / "v2/ddddddddddd_60000_70000/frames/7.jpg").unlink()
    reports = [check(open_dataset(semantic_root), workers=workers) for workers in (0, 2)]
    assert reports[0] == reports[1]
    assert [broken["uid"] for broken in reports[0]["broken"]] == ["ddddddddddd_60000_70000"]
    assert "9 of its 10 frames" in reports[0]["broken"][0]["reason"]


def test_a_clip_in_two_splits_is_a_problem_of_the_table(semantic_root):
    table = semantic_root / "metadata.csv"
    table.write_text(table.read_text() + "aaaaaaaaaaa,aaaaaaaaaaa_4000_9000,0,4,bird,test,v1s\n")
    report = check(open_dataset(semantic_root), workers=0)
    assert not report["usable"]
    assert "in another split (train, here test)" in report["csv_problems"][0]


def test_a_subset_alone_is_looked_at(semantic_root):
    assert check(open_dataset(semantic_root), subset="v2", workers=0)["clips"] == 2
