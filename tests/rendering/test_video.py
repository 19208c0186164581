from __future__ import annotations

import gc
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from made_videos import corners, numbered, set_matrix

from avsctl.errors import AvsctlError
from avsctl.rendering.sound import read_audio
from avsctl.rendering.video import open_video, read_frames

SHARED = Path(os.environ.get("AVSCTL_SHARED", Path(__file__).parents[2].parent / "shared")) / "videos"
UNREADABLE = {
    "derived_audio_only.mp4": "sound only",
    "derived_truncated_half.mp4": "cannot be opened",
    "derived_zero_bytes.mp4": "empty",
    "manifest.csv": "cannot be opened",
    "torchcodec_nasa_13013.mp4.audio.mp3": "sound only",
    "torchcodec_sine_mono_s32_8000.wav": "sound only",
}


def refusal(path: Path, **limits) -> str:
    with pytest.raises(AvsctlError) as caught:
        for _ in read_frames(path, **limits):
            pass
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def test_frames_keep_their_own_times_and_order(video):
    times = [0, 0.04, 0.2, 0.24, 0.5, 0.9, 1.0, 1.3]
    path = video("variable.mp4", numbered(8), times)
    info = open_video(path)
    seen = list(read_frames(info))
    assert np.allclose(info.times, times, atol=1e-3)
    assert np.allclose([seconds for seconds, _ in seen], times, atol=1e-3)
    brightness = [picture.mean() for _, picture in seen]
    assert brightness == sorted(brightness) and len(set(brightness)) == 8
    assert (info.width, info.height, info.rotation, info.has_audio) == (64, 48, 0, False)
    assert read_audio(path) is None


def test_frames_stored_out_of_order_come_in_order_of_showing(tmp_path):
    path = tmp_path / "b.mp4"
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"x264-params": "bframes=3:b-adapt=0:scenecut=0", "crf": "4"}
        for picture in numbered(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert stamps != sorted(stamps), "the file has no B-frames, so that the test shows nothing"
    seen = list(read_frames(path))
    assert np.allclose([seconds for seconds, _ in seen], np.arange(12) / 25, atol=1e-6)
    assert np.allclose([p.mean() for _, p in seen], [p.mean() for p in numbered(12)], atol=4)


@pytest.mark.parametrize(
    ("matrix", "degrees", "turned"),
    [
        ((1, 0, 0, 1), 0, lambda x: x),
        ((0, 1, -1, 0), 90, lambda x: np.rot90(x, -1)),
        ((-1, 0, 0, -1), 180, lambda x: np.rot90(x, 2)),
        ((0, -1, 1, 0), 270, lambda x: np.rot90(x, 1)),
        ((-1, 0, 0, 1), 180, lambda x: x[:, ::-1]),
        ((1, 0, 0, -1), 0, lambda x: x[::-1]),
    ],
)
def test_frames_are_turned_as_the_camera_says(video, matrix, degrees, turned):
    path = set_matrix(video("turned.mp4", [corners()] * 2, [0, 0.04]), matrix)
    info = open_video(path)
    _, picture = next(iter(read_frames(path)))
    expected = turned(corners())
    assert picture.shape == expected.shape == (info.height, info.width, 3)
    assert info.rotation == degrees
    assert np.abs(picture.astype(int) - expected)[4:-4:8, 4:-4:8].max() < 40


def test_full_range_pictures_keep_black_and_white(video):
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in (0, 8, 128, 247, 255)]
    path = video("full.mp4", pictures, np.arange(5) / 25, full_range=True)
    assert [round(p.mean()) for _, p in read_frames(path)] == pytest.approx([0, 8, 128, 247, 255], abs=2)


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "a.avi"), ("ffv1", "a.mkv"), ("libvpx-vp9", "a.webm")])
def test_other_codecs_and_containers_are_read(video, codec, name):
    path = video(name, numbered(5), np.arange(5) / 25, codec=codec)
    seen = list(read_frames(path))
    assert len(seen) == 5
    assert np.allclose([p.mean() for _, p in seen], [p.mean() for p in numbered(5)], atol=6)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (33, 17)])
def test_a_single_frame_of_any_size_is_a_video(tmp_path, size):
    from PIL import Image

    path = tmp_path / "one.png"
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)
    info = open_video(path)
    ((seconds, picture),) = read_frames(info)
    assert seconds == 0 and picture.shape == (*size, 3) and (picture == 90).all() and info.duration > 0


def test_a_cut_off_file_gives_what_is_there_and_counts_the_rest(video, caplog):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(30)]
    path = video("cut.mp4", noise, np.arange(30) / 25, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    stream = read_frames(path)
    with caplog.at_level(logging.WARNING, logger="avsctl"):
        seen = list(stream)
    assert 10 <= len(seen) <= 20
    assert stream.shown == len(seen) and stream.shown + stream.lost == 30
    assert "could not be decoded" in caplog.text


def test_flipped_bits_never_stop_the_reading(video):
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(30)]
    sound = rng.normal(0, 0.2, 16000 * 2)
    path = video("flipped.mp4", noise, np.arange(30) / 25, wave=sound, options={"movflags": "faststart"})
    whole = bytearray(path.read_bytes())
    media = whole.index(b"mdat") + 4
    for position in rng.integers(media + 2000, len(whole), 400):
        whole[position] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(whole))
    info = open_video(path)
    seen = list(read_frames(info))
    times = [seconds for seconds, _ in seen]
    assert 1 <= len(seen) <= 30 and times == sorted(set(times)) and times[-1] <= info.duration
    sound = read_audio(info)
    assert sound is None or np.isfinite(sound[0]).all()


def test_what_is_no_video_is_refused_in_one_line(tmp_path, video):
    assert "no video at" in refusal(tmp_path / "absent.mp4")
    assert "folder" in refusal(tmp_path)
    for name, content, words in [
        ("empty.mp4", b"", "empty"),
        ("noise.mp4", np.random.default_rng(0).bytes(5000), "cannot be opened"),
        ("notes.txt", b"frames, sounds and masks\n" * 50, "text file"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert words in refusal(tmp_path / name)
    assert "sound only" in refusal(video("sound.mp4", [], [], wave=np.zeros(16000)))
    pictures = video("dead.mp4", numbered(5), np.arange(5) / 25, options={"movflags": "faststart"})
    whole = pictures.read_bytes()
    media = whole.index(b"mdat") + 4
    pictures.write_bytes(whole[:media] + bytes(len(whole) - media))
    assert "none of the 5 frames" in refusal(pictures)


def test_limits_on_pixels_and_length_hold(video):
    path = video("large.mp4", numbered(2), [0, 100])
    assert "64 x 48 pixels" in refusal(path, max_pixels=1000)
    with pytest.raises(AvsctlError, match="limit is 60 s"):
        open_video(path, max_seconds=60)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's own memory count")
def test_memory_stays_flat_over_many_frames(video):
    path = video("long.mp4", numbered(150, 480, 640), np.arange(150) / 25)
    gc.collect()
    gc.disable()  # a reference cycle around a frame would show here
    try:
        sizes = [int(Path("/proc/self/statm").read_text().split()[1]) for _ in read_frames(path)]
    finally:
        gc.enable()
    growth = (sizes[-1] - sizes[30]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert growth < 30, f"{growth:.0f} MiB more after 120 frames of 0.45 MiB (yuv) to 0.9 MiB (rgb)"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no collection of real videos")
@pytest.mark.parametrize("path", sorted(SHARED.iterdir()) if SHARED.is_dir() else [], ids=lambda p: p.name)
def test_real_videos_are_read_or_refused_in_one_line(path):
    if path.name in UNREADABLE:
        assert UNREADABLE[path.name] in refusal(path)
        return
    info = open_video(path)
    stream = read_frames(info)
    last = -1.0
    for number, (seconds, picture) in enumerate(stream):
        assert picture.shape == (info.height, info.width, 3)
        assert seconds > last
        last = seconds
        if number == 40:
            break
    sound = read_audio(info)
    assert sound is None or (sound[0].ndim == 2 and sound[0].dtype == np.float32)
    if "late" in path.name:
        assert sound[2] == pytest.approx(1.0, abs=0.05) and np.abs(sound[0][: sound[1] // 2]).max() == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="no collection of real videos")
def test_real_rotation_metadata_is_understood():
    infos = {degrees: open_video(SHARED / f"decord_video_{degrees}.mov") for degrees in (0, 90, 180)}
    assert {degrees: info.rotation for degrees, info in infos.items()} == {0: 0, 90: 90, 180: 180}
    assert {degrees: (i.width, i.height) for degrees, i in infos.items()} == {
        0: (568, 320), 90: (320, 568), 180: (568, 320),
    }  # fmt: skip


def test_a_stretch_gives_its_frames_at_their_own_times(video):
    path = video("s.mp4", numbered(20), [n / 10 for n in range(20)])
    whole = list(read_frames(path))
    stream = read_frames(path, begin=0.5, end=1.2)
    part = list(stream)
    assert [seconds for seconds, _ in part] == pytest.approx([n / 10 for n in range(5, 12)])
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(part, whole[5:12], strict=True))
    assert (stream.shown, stream.lost, stream.expected) == (7, 0, 7)
    assert list(read_frames(path, begin=5.0)) == []
