"""AVSBench-object is read by the rules of the released readers."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from avsctl.data.avsbench_object import AVSBenchObject
from avsctl.data.labels import read_label
from avsctl.data.media import BrokenClip

CAT, HELICOPTER, MIXED, ODD = "eeeeeeeeeee_0_5000", "fffffffffff_5000_10000", "ggggggggggg_1", "hhhhhhhhhhh"
GREY_MASK = "Single-source/s4_data/gt_masks/val/helicopter/fffffffffff/fffffffffff_2.png"
CAT_LOG_MEL = "Single-source/s4_data/audio_log_mel/train/cat_meowing/eeeeeeeeeee.pkl"


def _load(root, uid):
    dataset = AVSBenchObject(root)
    return dataset.load(next(entry for entry in dataset.entries if entry.uid == uid))


def test_masks_are_those_of_the_released_readers(object_root, readers):
    # Black and white in any picture mode; official numbers other than 0 and 1 come from convert("P") of odd modes.
    (object_root / GREY_MASK).unlink()
    shutil.copy(object_root / GREY_MASK.replace("_2.png", "_1.png"), object_root / GREY_MASK)
    for uid, name in ((CAT, "s4.train"), (HELICOPTER, "s4.val"), (MIXED, "ms3.train"), (ODD, "ms3.test")):
        labels = [label for label in _load(object_root, uid).record.labels if label]
        expected = readers[f"{name}.avsbench.masks"][:, 0]
        assert len(labels) == len(expected)
        for number, label in enumerate(labels):
            if (uid, number) != (HELICOPTER, 1):
                assert np.array_equal(read_label(label), expected[number] > 0)


def test_masks_at_512_are_those_of_avsegformer(object_root, readers):
    index = read_label(_load(object_root, CAT).record.labels[0])
    found = np.asarray(Image.fromarray(index).resize((512, 512), Image.Resampling.NEAREST))
    assert np.array_equal(found[::8, ::8], readers["s4.train.avsegformer.masks_512_stride8"][0, 0])


def test_frames_are_kept_as_they_are(object_root):
    folder = object_root / "Multi-sources/ms3_data/visual_frames/ggggggggggg_1"
    expected = [(folder / f"ggggggggggg_1.mp4_{n}.png").read_bytes() for n in range(1, 6)]
    assert _load(object_root, MIXED).record.frames == expected


def test_s4_training_clips_are_labelled_in_their_first_frame(object_root):
    assert [bool(label) for label in _load(object_root, CAT).record.labels] == [True, False, False, False, False]


def test_log_mel_is_enough_where_there_is_no_wav(object_root, readers):
    record = _load(object_root, ODD).record
    assert record.audio == b""
    assert record.log_mel.shape == (5, 96, 64)
    assert np.array_equal(record.log_mel[0, :8], readers["ms3.test.log_mel_first"])


def test_wav_is_enough_where_there_is_no_log_mel(object_root):
    wav = object_root / CAT_LOG_MEL.replace("log_mel", "wav").replace(".pkl", ".wav")
    wav.parent.mkdir(parents=True)
    soundfile.write(wav, np.zeros(16000), 16000)
    (object_root / CAT_LOG_MEL).unlink()
    record = _load(object_root, CAT).record
    assert record.log_mel is None
    assert record.audio == wav.read_bytes()


def test_a_clip_without_any_sound_is_broken(object_root):
    (object_root / CAT_LOG_MEL).unlink()
    with pytest.raises(BrokenClip, match=r"eeeeeeeeeee\.wav is missing"):
        _load(object_root, CAT)


@pytest.mark.parametrize(
    "content, reason",
    [
        (pickle.dumps(torch.zeros(4, 1, 96, 64)), "has the shape"),
        (pickle.dumps(torch.full((5, 1, 96, 64), float("nan"))), "not numbers"),
        (pickle.dumps(print), "builtins.print"),
        (b"hello", "is refused"),
    ],
)
def test_a_bad_log_mel_is_broken(object_root, content, reason):
    (object_root / CAT_LOG_MEL).write_bytes(content)
    with pytest.raises(BrokenClip, match=reason):
        _load(object_root, CAT)


def test_a_mask_of_greys_without_white_is_refused(object_root):
    with pytest.raises(BrokenClip, match="values up to 100"):
        _load(object_root, HELICOPTER)


def test_soft_borders_count_as_white_from_128_and_are_reported(object_root):
    mask = np.zeros((40, 56), np.uint8)
    mask[0, :4] = (255, 128, 127, 1)
    Image.fromarray(mask).save(object_root / GREY_MASK)
    loaded = _load(object_root, HELICOPTER)
    assert read_label(loaded.record.labels[1])[0, :5].tolist() == [1, 1, 0, 0, 0]
    assert loaded.greys == [str(object_root / GREY_MASK)]


def test_s4_clips_are_called_as_in_avsbench_semantic(real_tables):
    from avsctl.data.avsbench_semantic import AVSBenchSemantic

    semantic = {(e.uid, e.video, e.split) for e in AVSBenchSemantic(real_tables / "semantic").entries if e.frames == 5}
    entries = AVSBenchObject(real_tables / "object").entries
    assert {(e.uid, e.video, e.split) for e in entries} == semantic
    assert len(entries) == 4932 + 424


@pytest.mark.parametrize(
    "row, reason",
    [
        ("../x,0,helicopter,train", "could lead out"),
        ("x,0,../../y,train", "could lead out"),
        ("x,soon,helicopter,train", "start 'soon'"),
        ("x,0,helicopter,dev", "split 'dev'"),
        ("eeeeeeeeeee,0,cat_meowing,test", "stands in line 2 already in another split"),
    ],
)
def test_a_bad_row_is_named_with_its_line(object_root, row, reason):
    table = object_root / "Single-source/s4_meta_data.csv"
    table.write_text(table.read_text().rstrip("\n") + "\n" + row + "\n")
    problems = AVSBenchObject(object_root).problems
    assert len(problems) == 1
    assert "s4_meta_data.csv, line 4" in problems[0]
    assert reason in problems[0]
