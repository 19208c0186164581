"""Videos as clips of one picture and one second of sound per second."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsctl.data.video_clips import RATE, pieces, read_clips
from avsctl.rendering.images import decode_rgb

sys.path.append(str(Path(__file__).parents[1] / "rendering"))
from made_videos import make_video  # noqa: E402


def brightness(frames):
    return [round(float(decode_rgb(frame).mean())) for frame in frames]


def pictures(count):
    return [np.full((32, 48, 3), 10 * n, np.uint8) for n in range(count)]


def test_a_second_gives_its_first_picture_and_its_sound(tmp_path):
    wave = np.concatenate([np.full(8000, level, np.float32) for level in (0.1, 0.3, 0.5)])
    frames = [n / 4 for n in range(12)]
    video = make_video(tmp_path / "v.mkv", pictures(12), frames, wave=wave, rate=8000, acodec="flac")
    (clip,) = read_clips(video)
    assert brightness(clip.frames) == pytest.approx([0, 40, 80], abs=3)
    heard, rate = soundfile.read(io.BytesIO(clip.audio))
    assert (rate, heard.shape) == (RATE, (3 * RATE,))
    levels = [heard[n * RATE + 2000 : (n + 1) * RATE - 2000].mean() for n in range(3)]
    assert levels == pytest.approx([0.1, 0.3, 0.5], abs=0.01)


def test_long_videos_are_cut_and_the_rest_is_a_clip_of_its_own(tmp_path):
    video = make_video(tmp_path / "v.mp4", pictures(14), [n / 2 for n in range(14)])
    clips = list(read_clips(video, 3))
    assert [(clip.begin, len(clip.frames)) for clip in clips] == [(0, 3), (3, 3), (6, 1)]
    assert brightness(clips[1].frames) == pytest.approx([60, 80, 100], abs=3)
    heard, _ = soundfile.read(io.BytesIO(clips[2].audio))
    assert heard.shape == (RATE,) and not heard.any(), "a video without sound is silent"


def test_gaps_show_the_next_picture_and_the_end_shows_the_last(tmp_path):
    video = make_video(tmp_path / "v.mp4", pictures(5), [0, 0.5, 2.6, 2.8, 3.6])
    (clip,) = read_clips(video)
    assert brightness(clip.frames) == pytest.approx([0, 20, 20, 40], abs=3)


def test_the_shortest_video_is_one_second(tmp_path):
    video = make_video(tmp_path / "v.mp4", pictures(2), [0, 0.1])
    (clip,) = read_clips(video, 10)
    assert len(clip.frames) == 1


def test_pieces_cover_every_second_once():
    assert pieces(23, 10) == [(0, 10), (10, 20), (20, 23)]
    assert pieces(10, 10) == [(0, 10)]
    assert pieces(7, None) == [(0, 7)]
