"""A clip's strips and sound as a browser decodes them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from avsctl.rendering.report.layers import (
    MAX_SIDE,
    class_strip,
    frame_strip,
    probability_strip,
    shown_size,
    sound_file,
)

COLOURS = np.array([[0, 0, 0], [200, 10, 30], [0, 90, 250]], np.uint8)


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def test_seconds_lie_side_by_side_in_order():
    pictures = [np.full((30, 40, 3), value, np.uint8) for value in (20, 120, 220)]
    strip = np.asarray(Image.open(io.BytesIO(frame_strip(pictures, (40, 30)))).convert("L"))
    assert strip.shape == (30, 120)
    assert [round(float(strip[:, 40 * n + 5 : 40 * n + 35].mean()), -1) for n in range(3)] == [20, 120, 220]


@pytest.mark.parametrize(("size", "shown"), [((224, 224),) * 2, ((1280, 720), (320, 180)), ((3, 4000), (1, 320))])
def test_pictures_keep_their_shape_and_are_never_enlarged(size, shown):
    assert shown_size(*size) == shown
    assert max(shown_size(*size)) <= MAX_SIDE


def test_classes_have_their_colours_and_the_background_is_transparent():
    mask = np.zeros((10, 10), np.uint8)
    mask[:5], mask[5:, :5], mask[9, 9] = 1, 2, 255  # 255 has no class
    strip = decoded(class_strip([mask, None], COLOURS, (10, 10)))
    assert strip.shape == (10, 20, 4)
    assert strip[2, 2].tolist() == [200, 10, 30, 255]
    assert strip[7, 2].tolist() == [0, 90, 250, 255]
    assert strip[7, 7, 3] == strip[9, 9, 3] == 0
    assert not strip[:, 10:, 3].any()  # a second without a label


def test_masks_are_enlarged_without_new_classes():
    mask = np.array([[0, 2], [2, 0]], np.uint8)
    strip = decoded(class_strip([mask], COLOURS, (40, 20)))
    assert {tuple(pixel) for pixel in strip[strip[..., 3] > 0].tolist()} == {(0, 90, 250, 255)}
    assert (strip[..., 3] > 0).mean() == 0.5


def test_a_probability_is_the_fainter_the_smaller_and_parts_at_one_half():
    maps = np.array([[[0, 127, 128, 255]]], np.uint8)
    alpha = decoded(probability_strip(maps, (4, 1)))[0, :, 3].astype(int)
    assert alpha[0] == 0 and alpha[3] == 255
    assert (np.diff(alpha) > 0).all()


@pytest.mark.parametrize(("rate", "channels", "ending"), [(16000, 1, "mp3"), (44100, 2, "mp3"), (12345, 1, "wav")])
def test_sound_keeps_its_length_rate_and_level(rate, channels, ending):
    time = np.arange(2 * rate) / rate
    wave = 0.5 * np.sin(2 * np.pi * 440 * time).astype(np.float32)[:, None].repeat(channels, 1)
    data, found = sound_file(wave, rate)
    assert found == ending
    heard, heard_rate = soundfile.read(io.BytesIO(data))
    assert heard_rate == rate
    assert len(heard) / rate == pytest.approx(2.0, abs=0.08)  # an MP3 holds whole frames of up to 72 ms
    assert np.sqrt((heard**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert sound_file(wave, rate)[0] == data


def test_many_channels_and_loud_samples_are_brought_down():
    wave = np.full((8000, 5), 3.0, np.float32)
    heard, _ = soundfile.read(io.BytesIO(sound_file(wave, 12345)[0]))
    assert heard.ndim == 1 and np.abs(heard).max() <= 1
