"""Visualizing clips of the workspace beside their ground truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from avsctl.caches.clips import ClipCache
from avsctl.data.labels import read_label
from avsctl.errors import AvsctlError
from avsctl.rendering.video import open_video
from avsctl.stages import visualize_models
from avsctl.stages.visualize_clips import visualize_clips
from avsctl.workspace import Workspace


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def draw(root, out, split="test", **options):
    return visualize_clips(Workspace(root), split, out=out, device="cpu", **options)


def test_each_clip_gets_a_sheet_and_an_overlay_as_long_as_itself(two_stage_workspace, tmp_path):
    result = draw(two_stage_workspace, tmp_path, count=2, subset="ms3")
    clips = ClipCache(two_stage_workspace / "clips.h5")
    folder = tmp_path / "clips-test-ms3"
    assert {clip["uid"] for clip in result.content["clips"]} == {
        clips.uids[i] for i in clips.select(split="test", subset="ms3")
    }
    for clip in result.content["clips"]:
        overlay = open_video(folder / clip["overlay"])
        assert overlay.has_audio
        assert overlay.duration == pytest.approx(clips.frame_count(clips.position[clip["uid"]]), abs=0.05)
        assert max(overlay.width, overlay.height) >= 480
        assert all((folder / sheet).exists() for sheet in clip["sheets"])
    assert (folder / "summary.png").exists()
    assert json.loads((folder / "clips.json").read_text()) == result.content


def test_the_ground_truth_in_the_json_is_the_labels(two_stage_workspace, tmp_path):
    result = draw(two_stage_workspace, tmp_path, split="train", count=2, subset="s4")
    clips = ClipCache(two_stage_workspace / "clips.h5")
    unlabelled = 0
    for clip in result.content["clips"]:
        for frame, data in zip(clip["frames"], clips.label_bytes(clips.position[clip["uid"]]), strict=True):
            if not data:
                assert frame["truth"] is None
                unlabelled += 1
                continue
            label = read_label(data)
            expected = {clips.classes[i]: round(float((label == i).mean()), 4) for i in np.unique(label) if i}
            assert {entry["name"]: entry["area"] for entry in frame["truth"]} == expected
    assert unlabelled, "S4's training clips are labelled in their first frame only"
    assert result.content["labelled_seconds"] == sum(len(c["frames"]) for c in result.content["clips"]) - unlabelled


def test_a_model_that_predicts_the_labels_finds_all_classes(two_stage_workspace, tmp_path, monkeypatch):
    clips = ClipCache(two_stage_workspace / "clips.h5")
    chosen = clips.select(split="test", subset="v2")
    truth = {}
    for clip in chosen:
        labels = [read_label(data) for data in clips.label_bytes(clip)]
        truth[len(truth)] = torch.from_numpy(np.stack(labels)).long()
    order = iter(sorted(truth))

    def maps(model, frames, audio, prior=None, *, lengths=None, size=224, precision="fp32"):
        if model.spec["task"] == "avs":
            return torch.full((len(frames), 2, size, size), 0.5)
        one_hot = torch.nn.functional.one_hot(truth[next(order)], model.num_classes).permute(0, 3, 1, 2).float()
        return torch.nn.functional.interpolate(one_hot, (size, size))

    monkeypatch.setattr(visualize_models, "class_maps", maps)
    content = draw(two_stage_workspace, tmp_path, count=2, subset="v2").content
    assert content["labelled_seconds"] == content["same_classes"] == sum(clips.frame_count(clip) for clip in chosen)


def test_the_seed_decides_which_clips_and_more_than_there_are_is_noted(two_stage_workspace, tmp_path):
    def uids(name, seed):
        content = draw(two_stage_workspace, tmp_path / name, count=1, subset="s4", seed=seed).content
        return [clip["uid"] for clip in content["clips"]]

    assert uids("a", 1) == uids("b", 1)
    assert uids("a", 1) != uids("c", 2)
    all_there = draw(two_stage_workspace, tmp_path / "d", count=50, subset="s4").content
    assert all_there["notes"] == ["there are only 2 such clips"]


def test_the_same_clips_are_drawn_once_and_seeing_them_ahead_changes_no_byte(two_stage_workspace, tmp_path):
    assert draw(two_stage_workspace, tmp_path, count=2).fresh
    assert not draw(two_stage_workspace, tmp_path, count=2, prefetch=0).fresh
    draw(two_stage_workspace, tmp_path / "plain", count=2, prefetch=0)
    ahead, plain = (sorted((folder / "clips-test").iterdir()) for folder in (tmp_path, tmp_path / "plain"))
    assert [path.name for path in plain] == [path.name for path in ahead]
    assert [path.read_bytes() for path in plain] == [path.read_bytes() for path in ahead]
    with pytest.raises(AvsctlError, match="--overwrite"):
        draw(two_stage_workspace, tmp_path, count=1, alpha=0.3)


def test_stage_one_alone_is_compared_with_what_sounds(tiny_workspace, tmp_path):
    content = draw(tiny_workspace, tmp_path, count=1).content
    names = {entry["name"] for frame in content["clips"][0]["frames"] for entry in frame["truth"]}
    assert names <= {"sounding"}


def test_embeddings_of_another_encoder_are_refused(two_stage_workspace, workspace_copy, tmp_path):
    root = workspace_copy(two_stage_workspace)
    record = root / "runs/avs/aavs-tiny-all-none-s3407/record.json"
    content = json.loads(record.read_text())
    content["data"]["encoder"] = "vggish"
    record.write_text(json.dumps(content))
    with pytest.raises(AvsctlError, match="extract-audio --encoder vggish"):
        draw(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_stills_or_only_video(two_stage_workspace, tmp_path):
    stills = draw(two_stage_workspace, tmp_path / "a", count=1, only="stills")
    assert {path.suffix for path in stills.files} == {".png", ".json"}
    assert stills.content["clips"][0]["overlay"] is None
    video = draw(two_stage_workspace, tmp_path / "b", count=1, only="video")
    assert {path.suffix for path in video.files} == {".mp4", ".json"}


def test_clips_with_the_classes_asked_for_are_taken(two_stage_workspace, tmp_path):
    clips = ClipCache(two_stage_workspace / "clips.h5")
    labels = {
        clip: set(np.unique([np.unique(read_label(data)).tolist()[-1] for data in clips.label_bytes(clip) if data]))
        for clip in clips.select(split="test")
    }
    wanted, index = next((clip, max(found)) for clip, found in labels.items() if max(found))
    content = draw(two_stage_workspace, tmp_path, count=6, classes=(clips.classes[index],), only="stills").content
    assert clips.uids[wanted] in {clip["uid"] for clip in content["clips"]}
    for clip in content["clips"]:
        truths = [entry["name"] for frame in clip["frames"] for entry in frame["truth"] or []]
        assert set(truths) == {clips.classes[index]}


def test_runs_are_compared_beside_the_ground_truth(two_stage_workspace, tmp_path):
    runs = [str(two_stage_workspace / "runs" / run) for run in ("avs/aavs-tiny-all-none-s3407",)]
    runs += ["ours=aavs-tiny-all-oracle-s3407", f"one={two_stage_workspace}/runs/avss/aavs-tiny-all-none-s3407"]
    result = draw(two_stage_workspace, tmp_path, count=1, compare=runs)
    content, folder = result.content, tmp_path / "compare-test"
    assert content["format"] == "avsctl-comparison-clips"
    assert [run["label"] for run in content["runs"]] == ["aavs-tiny-all-none-s3407", "ours", "one"]
    (clip,) = content["clips"]
    assert len(clip["truth"]) == len(clip["runs"][1]["frames"])
    assert open_video(folder / clip["video"]).width > 5 * 280  # frame, truth and three runs
    assert {path.name for path in folder.iterdir()} == {*content["outputs"], "clips.json"}
    assert "ours: exactly the labelled classes in" in result.summary
