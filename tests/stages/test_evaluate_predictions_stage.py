"""Masks of any program: what is read from their files, at which size they are compared, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from avsctl.caches.clips import SUBSETS, ClipCache, ClipRecord, assemble_clips
from avsctl.caches.files import read_json
from avsctl.data.labels import binary_label, read_label, semantic_label
from avsctl.data.media import index_png
from avsctl.data.palette import CLASS_NAMES, index_to_colours, palette
from avsctl.errors import AvsctlError
from avsctl.metrics import MEANINGS, BinaryScores, SemanticScores
from avsctl.stages.evaluate_predictions import SIZES, PredictionsConfig, evaluate_predictions
from avsctl.workspace import Workspace

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "metrics" / "baselines_semantic"


@pytest.fixture
def root(tiny_workspace, tmp_path):
    """A workspace that holds nothing but clips.h5."""
    (tmp_path / "ws").mkdir()
    shutil.copy(tiny_workspace / "clips.h5", tmp_path / "ws")
    return tmp_path / "ws"


def _save_classes(path, index):
    Image.fromarray(index).save(path)


def _save_scores(path, index):
    Image.fromarray(np.where(index > 0, 255, 0).astype(np.uint8)).save(path)


def _write(folder, root, *, save=_save_classes, change=lambda index: index, place="{folder}/{uid}", split="test"):
    """A mask file for every frame, by default a copy of its label."""
    clips = ClipCache(root / "clips.h5")
    for clip in clips.select(split=split):
        subset = clips.subsets[clip]
        target = folder / place.format(folder=SUBSETS[subset], subset=subset, uid=clips.uids[clip])
        target.mkdir(parents=True)
        for frame, data in enumerate(clips.label_bytes(clip)):
            index = read_label(data) if data else np.zeros((64, 64), np.uint8)
            save(target / f"{frame}.png", np.ascontiguousarray(change(index)))
    return folder


def _score(root, folder, **options):
    options = {"size": "label", "task": "avss", **options}
    return evaluate_predictions(Workspace(root), PredictionsConfig(folder, **options), workers=1)


def _all(report):
    return report.content["scores"]["all"]


def _shifted(index):
    return np.roll(index, 7, axis=1)


def _as_palette(path, index):
    picture = Image.fromarray(index)
    picture.putpalette(palette(71).tobytes())
    assert picture.mode == "P"
    picture.save(path)


def _as_reordered_palette(path, index):
    """As a program does that reduces colours by itself: the numbers in the file are not the classes."""
    found = np.unique(index)[::-1]
    picture = Image.fromarray(np.searchsorted(-found.astype(int), -index.astype(int)).astype(np.uint8))
    picture.putpalette(palette(71)[found].tobytes())
    picture.save(path)


def _as_colours(path, index):
    Image.fromarray(index_to_colours(index)).save(path)


def _as_colours_with_alpha(path, index):
    Image.fromarray(index_to_colours(index)).convert("RGBA").save(path)


def _as_16_bits(path, index):
    Image.fromarray(index.astype(np.uint16)).save(path)


@pytest.mark.parametrize("save", [_as_palette, _as_reordered_palette, _as_colours, _as_colours_with_alpha, _as_16_bits])
def test_classes_mean_the_same_in_whatever_kind_of_picture(root, tmp_path, save):
    plain = _score(root, _write(tmp_path / "plain", root, change=_shifted))
    other = _score(root, _write(tmp_path / "other", root, change=_shifted, save=save))
    assert other.content["scores"] == plain.content["scores"]
    assert 0 < _all(plain)["miou_foreground_present"] < 1


@pytest.mark.parametrize("place", ["{folder}/{uid}", "{subset}/{uid}", "{uid}"])
def test_labels_as_predictions_are_perfect_at_every_size(root, tmp_path, place):
    folder = _write(tmp_path / "masks", root, place=place)
    for size in SIZES:
        scores = _all(_score(root, folder, size=size))
        assert scores["miou_present"] == pytest.approx(1)
        assert scores["dataset_f_score"] == pytest.approx(1)
        assert scores["avs_dataset_iou"] == 1


def test_class_masks_are_compared_at_the_size_asked_for(root, tmp_path):
    """Against accumulators fed by hand, masks of another size than their labels."""
    small = lambda index: _shifted(index)[::2, ::3]  # noqa: E731
    folder = _write(tmp_path / "masks", root, change=small)
    clips = ClipCache(root / "clips.h5")
    for size, side in (("label", 64), ("224", 224), ("512", 512)):
        expected = SemanticScores(71)
        for clip in clips.select(split="test"):
            labels = [read_label(data) for data in clips.label_bytes(clip)]
            pictures = [Image.fromarray(np.ascontiguousarray(small(label))) for label in labels]
            masks = [np.asarray(picture.resize((side, side), Image.Resampling.NEAREST)) for picture in pictures]
            truth = np.stack([label if size == "label" else semantic_label(label, side) for label in labels])
            expected.add(clips.uids[clip], clips.subsets[clip], np.stack(masks), truth, position=clip)
        report = _score(root, folder, size=size)
        assert report.content["scores"] == expected.result()
        assert report.content["label_size"] == (size if size == "label" else side)


@pytest.mark.parametrize("mix", ["few_classes", "short_clip_only"])
def test_files_score_as_the_published_test_scripts_score_their_arrays(tmp_path, mix):
    tensors = load_file(GOLDEN.with_suffix(".safetensors"))
    published = json.loads(GOLDEN.with_suffix(".json").read_text())["expected"]["DATASET_LEVEL"][mix]
    records = []
    for case in published["cases"]:
        masks, truth = tensors.get(f"{case}.pred_label"), tensors[f"{case}.gt"]
        if case == "short_clip":
            masks, truth = tensors["short_clip.pred_label_first5"], truth[:5]
        folder = tmp_path / "masks" / "v2" / case
        folder.mkdir(parents=True)
        for frame, mask in enumerate(masks):
            _as_colours(folder / f"{frame}.png", mask)
        labels = [index_png(label.astype(np.uint8)) for label in truth]
        records.append(ClipRecord(case, case, "v2", "test", [b""] * len(labels), labels, b""))
    assemble_clips(
        tmp_path / "clips.h5", lambda: (record.arrays() for record in records),
        classes=CLASS_NAMES, palette=palette(71), label_kind="semantic", options={},
    )  # fmt: skip
    scores = _all(_score(tmp_path, tmp_path / "masks"))
    for theirs, names in (
        ("stepping_stones", ("miou", "miou_foreground", "f_score", "f_score_foreground")),
        ("avsbench_avsegformer", ("miou_padded", "miou_padded_legacy", "f_score_padded", "f_score_padded_legacy")),
    ):
        values = [published[theirs][name] for name in ("miou", "miou_noBg", "F_score", "F_score_noBg")]
        # The published scripts sum in float32.
        assert [scores[name] for name in names] == pytest.approx(values, abs=2e-6)


def _soft(path, index):
    """Scores that rise from left to right, higher on the label."""
    rise = np.linspace(20, 200, index.shape[1])[None] + np.where(index > 0, 55, 0)
    Image.fromarray(rise.astype(np.uint8)).save(path)


@pytest.mark.parametrize("rule", ["bilinear", "nearest"])
def test_grey_masks_are_scores_and_more_than_half_sounds(root, tmp_path, rule):
    folder = _write(tmp_path / "masks", root, save=_soft)
    clips = ClipCache(root / "clips.h5")
    for size, side in (("label", 64), ("224", 224)):
        expected = BinaryScores()
        for clip in clips.select(split="test", subset="ms3"):
            masks, truth = [], []
            for frame, data in enumerate(clips.label_bytes(clip)):
                with Image.open(folder / "v1m" / clips.uids[clip] / f"{frame}.png") as picture:
                    grey = picture.convert("F")
                    masks.append(np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR)) / np.float32(255))
                label = read_label(data)
                truth.append(label != 0 if size == "label" else binary_label(label, side, rule=rule))
            masks = np.stack(masks)
            expected.add(clips.uids[clip], "ms3", masks > 0.5, np.stack(truth), scores=masks, position=clip)
        report = _score(root, folder, task="avs", subset="ms3", size=size, binary_labels=rule)
        assert report.content["scores"]["all"] == expected.result()["all"]
        assert report.content["binary_labels"] == (None if size == "label" else rule)
    assert 0 < _all(report)["miou"] < 1


def test_128_sounds_and_127_does_not(root, tmp_path):
    for grey, marked in ((127, 0), (128, 1)):
        folder = _write(tmp_path / str(grey), root, change=lambda index, grey=grey: np.full_like(index, grey))
        assert _all(_score(root, folder, task="avs"))["marked_share"] == marked


def test_grey_of_16_bits_counts_by_its_own_highest_value(root, tmp_path):
    def in_16_bits(path, index):
        Image.fromarray(np.where(index > 0, 65535, 20000).astype(np.uint16)).save(path)

    folder = _write(tmp_path / "masks", root, save=in_16_bits)
    assert _all(_score(root, folder, task="avs"))["dataset_iou"] == 1


def test_one_pass_gives_every_score_that_masks_can_have_under_its_name(root, tmp_path):
    report = _score(root, _write(tmp_path / "classes", root))
    assert set(_all(report)) == set(MEANINGS["semantic"])
    report = _score(root, _write(tmp_path / "scores", root, save=_save_scores), task="avs")
    assert set(_all(report)) == set(MEANINGS["binary"]) - {"f_score_stepping_stones"}


def test_the_task_is_that_of_the_labels_unless_said_otherwise(root, tmp_path):
    folder = _write(tmp_path / "masks", root)
    assert _score(root, folder, task=None).content["task"] == "avss"


def test_reports_say_what_was_scored_and_those_of_two_programs_stay_apart(root, tmp_path):
    first, second = (_write(tmp_path / name / "masks", root) for name in "ab")
    reports = [_score(root, folder) for folder in (first, second)]
    assert reports[0].path.parent == root / "reports" / "test"
    assert reports[0].path != reports[1].path
    assert reports[0].content["predictions"]["fingerprint"] == reports[1].content["predictions"]["fingerprint"]
    assert read_json(reports[0].path) == json.loads(json.dumps(reports[0].content))
    assert len(reports[0].path.with_suffix(".csv").read_text().splitlines()) == 1 + 71 * 4
    Image.fromarray(np.full((64, 64), 3, np.uint8)).save(next(first.glob("v2/*/0.png")))
    changed = _score(root, first)
    assert changed.path == reports[0].path
    assert changed.content["predictions"]["fingerprint"] != reports[1].content["predictions"]["fingerprint"]


def test_processes_change_no_bit(root, tmp_path):
    folder = _write(tmp_path / "masks", root, change=_shifted)
    alone = _score(root, folder)
    config = PredictionsConfig(folder, size="label", task="avss")
    assert evaluate_predictions(Workspace(root), config, workers=2).content == alone.content


def test_only_labelled_frames_count(root, tmp_path):
    folder = _write(tmp_path / "masks", root, split="train")
    report = _score(root, folder, split="train", subset="s4")
    assert _all(report)["frames"] == 2
    assert _all(report)["miou_present"] == pytest.approx(1)


def test_class_indices_taken_for_scores_are_warned_of(root, tmp_path, caplog):
    folder = _write(tmp_path / "masks", root)
    with caplog.at_level("WARNING", logger="avsctl"):
        _score(root, folder, task="avs")
    assert "of 255, so that nothing sounds" in caplog.text


def _spoil_missing_clip(folder):
    shutil.rmtree(folder)
    return rf"{folder}\b.*is missing"


def _spoil_missing_frame(folder):
    (folder / "4.png").unlink()
    return rf"{folder / '4.png'} is missing"


def _spoil_one_too_many(folder):
    shutil.copy(folder / "4.png", folder / "5.png")
    return rf"{folder} holds 6 masks, but clip .* has 5 frames"


def _spoil_stray_colour(folder):
    rgb = index_to_colours(np.zeros((64, 64), np.uint8))
    rgb[4, 9] = (1, 2, 3)
    Image.fromarray(rgb).save(folder / "2.png")
    return rf"{folder / '2.png'} has 1 pixels.*\(1, 2, 3\) in row 4, column 9"


def _spoil_index_out_of_range(folder):
    Image.fromarray(np.full((64, 64), 71, np.uint8)).save(folder / "2.png")
    return rf"{folder / '2.png'} holds class index 71, but the classes are 0 to 70.*--task avs"


def _spoil_cut_off(folder):
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:60])
    return rf"{folder / '3.png'} is broken or cut off"


def _spoil_no_picture(folder):
    (folder / "3.png").write_text("masks")
    return rf"{folder / '3.png'} is no known picture"


@pytest.mark.parametrize(
    "spoil",
    [
        _spoil_missing_clip,
        _spoil_missing_frame,
        _spoil_one_too_many,
        _spoil_stray_colour,
        _spoil_index_out_of_range,
        _spoil_cut_off,
        _spoil_no_picture,
    ],
)
def test_a_wrong_mask_is_named_and_nothing_is_written(root, tmp_path, spoil):
    folder = _write(tmp_path / "masks", root)
    message = spoil(sorted((folder / "v1m").iterdir())[1])
    with pytest.raises(AvsctlError, match=message):
        _score(root, folder)
    assert not (root / "reports").exists()


def test_colours_are_no_scores(root, tmp_path):
    folder = _write(tmp_path / "masks", root, save=_as_colours)
    with pytest.raises(AvsctlError, match="use --task avss"):
        _score(root, folder, task="avs")


def test_a_missing_folder_and_clips_without_labels_are_refused(root, tmp_path):
    with pytest.raises(AvsctlError, match="No folder of masks"):
        _score(root, tmp_path / "nowhere")
    with pytest.raises(AvsctlError, match="avsctl prepare"):
        _score(tmp_path / "no-workspace", tmp_path)
