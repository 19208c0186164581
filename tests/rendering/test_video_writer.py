from __future__ import annotations

import av
import numpy as np
import pytest
from made_videos import corners, make_video, numbered

from avsctl.errors import AvsctlError
from avsctl.rendering.sound import read_audio
from avsctl.rendering.video import open_video, read_frames
from avsctl.rendering.video_writer import VideoWriter


def flashes_and_clicks(times, flash_at, rate):
    """Black pictures, white where a flash is due, and a wave with a click at the same moments."""
    pictures = [np.full((48, 64, 3), 255 if t in flash_at else 0, np.uint8) for t in times]
    wave = np.zeros(int((times[-1] + 0.5) * rate), np.float32)
    for t in flash_at:
        start = round(t * rate)
        wave[start : start + rate // 100] = np.sin(np.arange(rate // 100) * 2 * np.pi * 1000 / rate) * 0.9
    return pictures, wave


def onsets(wave, rate):
    loud = np.flatnonzero(np.abs(wave) > 0.35) / rate
    return [t for n, t in enumerate(loud) if n == 0 or t - loud[n - 1] > 0.05]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 37800])
def test_sound_and_pictures_stay_together(tmp_path, rate):
    steps = np.array([0.04] * 30 + [0.12] * 10 + [0.04] * 60 + [0.1] * 20)  # variable rate, 6.8 s
    times = [0.0, *np.cumsum(steps).round(4)]
    flash_at = [times[n] for n in (10, 36, 70, 105)]
    pictures, wave = flashes_and_clicks(times, flash_at, rate)
    with VideoWriter(tmp_path / "sync.mp4", (64, 48), 25, audio=(wave, rate)) as writer:
        for picture, seconds in zip(pictures, times, strict=True):
            writer.write(picture, seconds)
    info = open_video(tmp_path / "sync.mp4")
    assert np.allclose(info.times, times, atol=1e-4)
    seen = [seconds for seconds, picture in read_frames(info) if picture.mean() > 128]
    sound, out_rate, start = read_audio(info)
    assert seen == pytest.approx(flash_at, abs=1e-4)
    assert onsets(sound[:, 0], out_rate) == pytest.approx(flash_at, abs=0.01)
    assert abs(start) < 0.001 and len(sound) / out_rate == pytest.approx(len(wave) / rate, abs=0.07)


def test_late_sound_keeps_its_delay_through_reading_and_writing(tmp_path):
    times = np.arange(50) / 25
    pictures, wave = flashes_and_clicks(times, [times[30]], 16000)
    source = make_video(tmp_path / "late.mkv", pictures, times, wave=wave[16000:], wave_start=1.0, acodec="flac")
    sound, rate, start = read_audio(source)
    assert start == pytest.approx(1.0, abs=0.002) and not sound[: rate // 2].any()
    with VideoWriter(tmp_path / "out.mp4", (64, 48), 25, audio=(sound, rate)) as writer:
        for seconds, picture in read_frames(source):
            writer.write(picture, seconds)
    again, rate, _ = read_audio(tmp_path / "out.mp4")
    assert onsets(again[:, 0], rate) == pytest.approx([times[30]], abs=0.02)


def test_sound_before_the_first_picture_is_cut(tmp_path):
    times = 0.5 + np.arange(25) / 25
    wave = np.zeros(24000, np.float32)
    wave[16000:16160] = 0.9  # 1 s on the container's clock, 0.5 s after the first picture
    source = make_video(tmp_path / "early.mkv", numbered(25), times, wave=wave, acodec="flac")
    sound, rate, start = read_audio(source)
    assert start == pytest.approx(-0.5, abs=0.01)
    assert onsets(sound[:, 0], rate)[0] == pytest.approx(0.5, abs=0.01)
    assert open_video(source).times[0] == 0
    assert [seconds for seconds, _ in read_frames(source)] == pytest.approx(times - 0.5, abs=1e-3)


def test_colours_survive(tmp_path):
    with VideoWriter(tmp_path / "c.mp4", (64, 48), 25, crf=4) as writer:
        for _ in range(3):
            writer.write(corners())
    _, picture = next(iter(read_frames(tmp_path / "c.mp4")))
    assert np.abs(picture.astype(int) - corners())[4:-4:8, 4:-4:8].max() < 12


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (17, 33), (51, 50), (320, 240)])
def test_any_size_is_written_and_plays(tmp_path, size):
    width, height = size
    with VideoWriter(tmp_path / "s.mp4", size, 10) as writer:
        for picture in numbered(4, height, width):
            writer.write(picture)
    info = open_video(tmp_path / "s.mp4")
    assert (info.width, info.height) == (width + width % 2, height + height % 2)
    assert len(list(read_frames(info))) == 4


def test_the_file_is_of_the_kind_that_plays_everywhere(tmp_path):
    wave = np.random.default_rng(0).normal(0, 0.1, (8000, 2))
    with VideoWriter(tmp_path / "k.mp4", (64, 48), 30, audio=(wave, 8000)) as writer:
        for picture in numbered(30):
            writer.write(picture)
    with av.open(str(tmp_path / "k.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert video.codec_context.profile in ("Main", "Constrained Baseline", "Baseline")
        assert (audio.codec_context.name, audio.rate, audio.codec_context.layout.name) == (
            "aac",
            48000,
            "stereo",
        )
    data = (tmp_path / "k.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "a browser could only start after the whole download"


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_the_last_frame_is_shown_until_the_end(tmp_path, frames):
    writer = VideoWriter(tmp_path / "d.mp4", (64, 48), 25)
    for n, picture in enumerate(numbered(frames)):
        writer.write(picture, n / 25)
    writer.close(duration=3.0)
    assert open_video(tmp_path / "d.mp4").duration == pytest.approx(3.0, abs=0.002)


def test_longer_sound_is_kept_in_full_and_bad_samples_are_silenced(tmp_path):
    wave = np.full(16000 * 3, 0.25)
    wave[:1000] = np.nan
    wave[5000] = 7.0
    with VideoWriter(tmp_path / "l.mp4", (64, 48), 25, audio=(wave, 16000)) as writer:
        writer.write(numbered(1)[0])
    sound, rate, _ = read_audio(tmp_path / "l.mp4")
    assert len(sound) / rate == pytest.approx(3.0, abs=0.07) and np.isfinite(sound).all()


def test_a_failure_leaves_nothing_and_spares_the_older_file(tmp_path):
    target = tmp_path / "v.mp4"
    target.write_bytes(b"older")
    with pytest.raises(RuntimeError), VideoWriter(target, (64, 48), 25, audio=(np.zeros(9), 8000)) as writer:
        writer.write(corners())
        raise RuntimeError("the model failed")
    with pytest.raises(ValueError, match="no frame"), VideoWriter(target, (64, 48), 25):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"] and target.read_bytes() == b"older"
    with VideoWriter(target, (64, 48), 25) as writer:
        writer.write(corners())
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"] and len(list(read_frames(target))) == 1


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(AvsctlError, match="absent"):
        VideoWriter(tmp_path / "absent" / "v.mp4", (64, 48), 25)


@pytest.mark.parametrize(
    ("size", "fps", "audio"),
    [
        ((0, 4), 25, None),
        ((64, 48), 0, None),
        ((64, 48), float("nan"), None),
        ((64, 48), 25, (np.zeros((10, 6)), 8000)),
        ((64, 48), 25, (np.zeros(10, np.int16), 8000)),
        ((64, 48), 25, (np.zeros(10), 0)),
    ],
)
def test_impossible_videos_are_refused(tmp_path, size, fps, audio):
    with pytest.raises(ValueError):
        VideoWriter(tmp_path / "v.mp4", size, fps, audio=audio)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("second", [0.0, -1.0, float("nan")])
def test_times_must_ascend_and_frames_fit(tmp_path, second):
    with pytest.raises(ValueError), VideoWriter(tmp_path / "v.mp4", (64, 48), 25) as writer:
        writer.write(corners(), 0.0)
        writer.write(corners(), second)
    with pytest.raises(ValueError), VideoWriter(tmp_path / "v.mp4", (64, 48), 25) as writer:
        writer.write(corners(50, 50))
    assert not list(tmp_path.iterdir())
