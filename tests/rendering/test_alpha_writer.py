"""Transparent videos: what is transparent when decoded again."""

from __future__ import annotations

import av
import numpy as np
import pytest

from avsctl.errors import AvsctlError
from avsctl.rendering.alpha_writer import AlphaWriter
from avsctl.rendering.overlay import draw_masks, draw_transparent

NAMES = ["background", "dog"]
COLOURS = np.array([[0, 0, 0], [128, 0, 0]], np.uint8)


def decode(path):
    """Times and RGBA frames; FFmpeg's own decoder would drop the alpha, libvpx's keeps it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        packets = [packet for packet in container.demux(stream) if packet.size]
        frames = [(float(p.pts * p.time_base), frame) for p in packets for frame in decoder.decode(p)]
    assert {frame.format.name for _, frame in frames} == {"yuva420p"}
    return [seconds for seconds, _ in frames], [frame.to_ndarray(format="rgba") for _, frame in frames]


def test_alpha_survives_at_its_time_and_place(tmp_path):
    times = [0.0, 0.1, 0.35, 0.4]
    with AlphaWriter(tmp_path / "a.webm", (71, 49), 10) as writer:
        for number, seconds in enumerate(times):
            frame = np.zeros((49, 71, 4), np.uint8)
            frame[8:40, 8 + 8 * number : 32 + 8 * number] = (200, 40, 40, 128)
            writer.write(frame, seconds)
    found, frames = decode(tmp_path / "a.webm")
    assert found == pytest.approx(times, abs=1e-3)
    for number, frame in enumerate(frames):
        assert frame.shape == (50, 72, 4)
        inside, outside = frame[12:36, 12 + 8 * number : 28 + 8 * number], frame[44:, :, 3]
        assert inside[..., 3].mean() == pytest.approx(128, abs=4)
        assert inside[..., 0].mean() == pytest.approx(200, abs=10)
        assert outside.max() <= 8
    assert [path.name for path in tmp_path.iterdir()] == ["a.webm"]


def test_nothing_is_left_of_a_video_given_up(tmp_path):
    with pytest.raises(ValueError, match="ascend"), AlphaWriter(tmp_path / "a.webm", (32, 32), 10) as writer:
        writer.write(np.zeros((32, 32, 4), np.uint8), 1.0)
        writer.write(np.zeros((32, 32, 4), np.uint8), 0.5)
    with pytest.raises(ValueError, match="RGBA"), AlphaWriter(tmp_path / "b.webm", (32, 32), 10) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8), 0.0)
    with pytest.raises(AvsctlError, match="cannot write"):
        AlphaWriter(tmp_path / "none" / "a.webm", (32, 32), 10)
    assert list(tmp_path.iterdir()) == []


def test_the_layer_over_a_picture_is_the_overlay():
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3)).astype(np.uint8)
    mask = np.zeros((90, 160), np.uint8)
    mask[30:80, 40:120] = 1
    layer = draw_transparent((160, 90), mask, NAMES, COLOURS, 0.4).astype(float)
    opacity = layer[..., 3:] / 255
    laid = layer[..., :3] * opacity + picture * (1 - opacity)
    drawn = draw_masks(picture, mask, NAMES, COLOURS, 0.4)
    assert np.abs(laid - drawn).max() <= 4  # roundings of Pillow's blending, once over each ground
    assert not layer[:10, :20, 3].any()
    assert not draw_transparent((160, 90), np.zeros((9, 16), np.uint8), NAMES, COLOURS).any()
