"""Visualizing a video: what is written, when it says what sounded, and that nothing is left half done."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from avsctl.errors import AvsctlError
from avsctl.rendering.images import read_index
from avsctl.rendering.sound import read_audio
from avsctl.rendering.video import FrameStream, open_video, read_frames
from avsctl.stages import visualize_films, visualize_look, visualize_models, visualize_video
from avsctl.stages.visualize_models import SOUNDING, choose_checkpoints
from avsctl.stages.visualize_record import Presence, Timeline, presences, summary
from avsctl.stages.visualize_sound import SoundWindows
from avsctl.workspace import Workspace
from avsctl_models.audio.encoders import encoder

sys.path.append(str(Path(__file__).parents[1] / "rendering"))
from made_videos import make_video  # noqa: E402

CLASS = 3
RATE = 16000


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def workspace(two_stage_workspace):
    return Workspace(two_stage_workspace)


@pytest.fixture
def moving(tmp_path):
    """Two seconds at 20 frames a second: a white square goes right; noise in the second one."""
    frames = []
    for n in range(40):
        picture = np.full((48, 96, 3), 30, np.uint8)
        picture[12:36, n : n + 24] = 250
        frames.append(picture)
    wave = np.zeros(2 * RATE, np.float32)
    wave[RATE:] = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    return make_video(tmp_path / "moving.mp4", frames, [n / 20 for n in range(40)], wave=wave)


@pytest.fixture
def bright_and_loud(monkeypatch):
    """Models that know it all: what is bright sounds while it is loud. Records what they were given."""
    calls = []

    def maps(model, frames, audio, prior=None, *, lengths=None, size=224, precision="fp32"):
        calls.append((model.spec["task"], prior))
        bright = (frames.float().mean(1, keepdim=True) > 128).float()
        loud = (audio[:, :64].mean(1) > -0.7).float()[:, None, None, None]
        found = torch.zeros(len(frames), model.num_classes, size, size)
        found[:, :1] = 0.4
        index = 1 if model.spec["task"] == "avs" else CLASS
        found[:, index : index + 1] = 0.8 * loud * torch.nn.functional.interpolate(bright, (size, size))
        return found

    monkeypatch.setattr(visualize_models, "class_maps", maps)
    return calls


def draw(workspace, video, out, **options):
    return visualize_video.visualize_video(workspace, video, out=out, device="cpu", **options)


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) if folder.exists() else None


def test_the_overlay_has_every_frame_at_its_time_and_the_sound(workspace, tmp_path):
    times = [0, 0.1, 0.15, 0.4, 0.9, 0.95, 1.3]
    frames = [np.full((50, 70, 3), 40 + 20 * n, np.uint8) for n in range(len(times))]
    wave = np.sin(np.arange(RATE) / RATE * 2 * np.pi * 440).astype(np.float32) / 2
    video = make_video(tmp_path / "uneven.mp4", frames, times, wave=wave)
    result = draw(workspace, video, tmp_path / "out")
    overlay = open_video(tmp_path / "out/uneven-overlay.mp4")
    np.testing.assert_allclose(overlay.times, open_video(video).times, atol=2e-4)  # the mp4's clock ticks at 90 kHz
    assert overlay.duration == pytest.approx(open_video(video).duration, abs=2e-3)
    (heard, rate, _), (given, _, _) = read_audio(overlay), read_audio(video)
    length = min(len(heard), len(given))
    assert rate == RATE
    assert np.corrcoef(heard[:length, 0], given[:length, 0])[0, 1] > 0.99  # coded twice, in step
    assert all(path.exists() for path in result.files)


def test_a_class_is_reported_from_when_it_is_heard(workspace, moving, tmp_path, bright_and_loud):
    content = draw(workspace, moving, tmp_path / "out").content
    name = json.loads((tmp_path / "out/moving.json").read_text())
    assert name == content
    (found,) = content["classes"].values()
    assert found["index"] == CLASS
    ((start, end),) = found["intervals"]
    assert 0.75 <= start <= 1.25  # noise begins at 1 s, and the window is centred
    assert end == pytest.approx(2.0, abs=0.02)  # the last frame lasts as long as the file's clock says
    assert [frame["time"] for frame in content["frames"]] == pytest.approx([n / 4 for n in range(8)])
    assert found["area"] == pytest.approx(24 * 24 / (48 * 96), abs=0.02)
    assert found["confidence"] == pytest.approx(0.8 / 1.2, abs=1e-3)
    assert found["seconds"] == pytest.approx(end - start)


def test_masks_follow_the_object_between_the_frames_the_model_saw(workspace, moving, tmp_path, bright_and_loud):
    draw(workspace, moving, tmp_path / "out", alpha=1.0)
    overlay = [picture for _, picture in read_frames(tmp_path / "out/moving-overlay.mp4")]
    for number in (29, 31, 34):  # seen are 25, 30 and 35; the square begins at its number
        tinted = np.ptp(overlay[number][26].astype(int), axis=1) > 40  # a colour where the picture was grey
        columns = np.flatnonzero(tinted)
        assert abs(columns.min() - number) <= 2
        assert abs(columns.max() - (number + 23)) <= 2


def test_masks_are_index_pictures_named_by_time(workspace, moving, tmp_path, bright_and_loud):
    result = draw(workspace, moving, tmp_path / "out")
    masks = sorted((tmp_path / "out/moving-masks").iterdir())
    assert [path.name for path in masks] == [f"000{n // 4}.{n % 4 * 250:03d}.png" for n in range(8)]
    assert [frame["mask"] for frame in result.content["frames"]] == [path.name for path in masks]
    last = read_index(masks[-1])
    truth = np.zeros((48, 96), bool)
    truth[12:36, 35:59] = True
    assert set(np.unique(last)) == {0, CLASS}
    assert ((last == CLASS) == truth).mean() > 0.97
    assert Image.open(masks[0]).mode == "P"
    assert not read_index(masks[0]).any()


@pytest.mark.parametrize("form", ["hard", "soft"])
def test_stage_two_gets_the_prior_of_stage_one(workspace, moving, tmp_path, bright_and_loud, form):
    draw(workspace, moving, tmp_path / "out", prior_form=form)
    (first, none), (second, prior) = bright_and_loud
    assert (first, none, second) == ("avs", None, "avss")
    assert prior.shape == (8, 224, 224)
    values = {0.0, 1.0} if form == "hard" else {0.0, round(0.8 / 1.2, 4)}
    assert {round(value, 4) for value in prior[-1].unique().tolist()} == values


def test_stage_one_alone_draws_what_sounds(workspace, moving, tmp_path, bright_and_loud, workspace_copy):
    alone = workspace_copy(workspace.root)
    shutil.rmtree(alone / "runs/avss")
    content = draw(Workspace(alone), moving, tmp_path / "out").content
    assert list(content["classes"]) == [SOUNDING[1]]
    assert content["models"]["avss"] is None


def test_a_video_without_sound_is_heard_as_silence_and_says_so(workspace, tmp_path, bright_and_loud):
    video = make_video(tmp_path / "mute.mp4", [np.full((48, 64, 3), 250, np.uint8)] * 5, [n / 5 for n in range(5)])
    result = draw(workspace, video, tmp_path / "out")
    assert "it has no sound: the model hears silence" in result.content["notes"]
    assert result.summary == "nothing sounded"
    assert not open_video(tmp_path / "out/mute-overlay.mp4").has_audio


def test_huge_pictures_are_drawn_smaller_and_it_is_noted(workspace, moving, tmp_path, monkeypatch):
    monkeypatch.setattr(visualize_video, "MAX_SIDE", 64)
    result = draw(workspace, moving, tmp_path / "out")
    overlay = open_video(tmp_path / "out/moving-overlay.mp4")
    assert (overlay.width, overlay.height) == (64, 32)
    assert "drawn at 64 x 32 instead of 96 x 48" in result.content["notes"]


def test_long_videos_get_pages_of_twenty_seconds(workspace, tmp_path, bright_and_loud):
    frames = [np.full((32, 48, 3), 60, np.uint8)] * 23
    video = make_video(tmp_path / "long.mp4", frames, range(23))
    result = draw(workspace, video, tmp_path / "out", fps=1.0)
    assert [path.name for path in result.files if "sheet" in path.name] == ["long-sheet.png", "long-sheet-2.png"]
    assert draw(workspace, video, tmp_path / "out", fps=0.5, overwrite=True).fresh
    assert not (tmp_path / "out/long-sheet-2.png").exists(), "a page of the earlier work is left"


def test_the_same_work_is_done_once_and_other_work_needs_overwrite(workspace, moving, tmp_path, bright_and_loud):
    out = tmp_path / "out"
    first = draw(workspace, moving, out)
    before = (out / "moving-overlay.mp4").stat().st_mtime_ns
    again = draw(workspace, moving, out)
    assert (first.fresh, again.fresh) == (True, False)
    assert again.files == first.files
    assert again.summary == first.summary
    assert (out / "moving-overlay.mp4").stat().st_mtime_ns == before
    with pytest.raises(AvsctlError, match="--overwrite"):
        draw(workspace, moving, out, fps=2.0)
    assert len(draw(workspace, moving, out, fps=2.0, overwrite=True).content["frames"]) == 4
    assert len(list((out / "moving-masks").iterdir())) == 4


def test_files_of_others_are_not_replaced(workspace, moving, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/moving.json").write_text("[]")
    with pytest.raises(AvsctlError, match="--overwrite"):
        draw(workspace, moving, tmp_path / "out")
    assert contents(tmp_path / "out") == ["moving.json"]


def test_working_ahead_changes_no_byte(workspace, moving, tmp_path, monkeypatch):
    monkeypatch.setattr(visualize_look, "_MOST_AT_ONCE", 10)  # so that two batches are seen
    plain = draw(workspace, moving, tmp_path / "plain", fps=8.0, transparent=True, prefetch=0)
    ahead = draw(workspace, moving, tmp_path / "ahead", fps=8.0, transparent=True)
    files = contents(tmp_path / "plain")
    assert len(plain.content["frames"]) == 16 and files == contents(tmp_path / "ahead")
    for name in files:
        if (tmp_path / "plain" / name).is_file():
            assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "ahead" / name).read_bytes(), name
    assert ahead.content == plain.content


@pytest.mark.parametrize("step", ["looking and listening", "drawing"])
def test_nothing_and_no_thread_is_left_when_one_stops(workspace, moving, tmp_path, step):
    def stopping(items, description="", total=None):
        for number, item in enumerate(items):
            yield item
            if description == step and number == 3:
                raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        draw(workspace, moving, tmp_path / "new" / "out", track=stopping)
    assert threading.active_count() == before
    assert not (tmp_path / "new").exists()


def test_nothing_and_no_thread_is_left_when_decoding_fails(workspace, moving, tmp_path, monkeypatch):
    decode, passes = FrameStream.__iter__, []

    def failing(stream):
        passes.append(stream)
        for number, frame in enumerate(decode(stream)):
            if len(passes) == 2 and number == 20:
                raise AvsctlError("the disk is gone")
            yield frame

    monkeypatch.setattr(FrameStream, "__iter__", failing)
    before = threading.active_count()
    with pytest.raises(AvsctlError, match="the disk is gone"):
        draw(workspace, moving, tmp_path / "new" / "out")
    assert threading.active_count() == before
    assert not (tmp_path / "new").exists()


def test_each_model_is_compiled_on_request(workspace, moving, tmp_path, bright_and_loud, monkeypatch):
    wishes = []
    monkeypatch.setattr(visualize_models, "compile_parts", lambda model, wanted: wishes.append(wanted) or model)
    draw(workspace, moving, tmp_path / "out", only="stills", compile=True)
    assert wishes == [True, True]


def test_nothing_is_left_when_drawing_fails(workspace, moving, tmp_path, monkeypatch):
    monkeypatch.setattr(visualize_films, "draw_masks", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw(workspace, moving, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_what_was_there_stays_when_overwriting_fails(workspace, moving, tmp_path, monkeypatch):
    draw(workspace, moving, tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr(visualize_films, "draw_masks", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw(workspace, moving, tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before


def test_models_that_predict_nan_are_named(workspace, moving, tmp_path, monkeypatch):
    bad = lambda model, frames, *given, size, **more: torch.full((len(frames), 2, size, size), torch.nan)  # noqa: E731
    monkeypatch.setattr(visualize_models, "class_maps", bad)
    with pytest.raises(AvsctlError, match="predicts NaN"):
        draw(workspace, moving, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_newest_two_stage_run_goes_before_a_newer_single_stage_one(workspace, workspace_copy):
    root = workspace_copy(workspace.root)
    (root / "runs/avss/aavs-tiny-all-none-s3407/record.json").touch()
    first, second = choose_checkpoints(Workspace(root))
    assert (first.name, second.name) == ("aavs-tiny-all-none-s3407", "aavs-tiny-all-oracle-s3407")
    shutil.rmtree(root / "runs/avss/aavs-tiny-all-oracle-s3407")
    assert choose_checkpoints(Workspace(root))[1].name == "aavs-tiny-all-none-s3407"


def test_without_stage_one_the_single_stage_run_serves_and_two_stages_are_refused(
    workspace, workspace_copy, moving, tmp_path
):
    root = workspace_copy(workspace.root)
    shutil.rmtree(root / "runs/avs")
    first, second = choose_checkpoints(Workspace(root))
    assert (first, second.name) == (None, "aavs-tiny-all-none-s3407")
    with pytest.raises(AvsctlError, match="avsctl train-avs"):
        draw(Workspace(root), moving, tmp_path / "out", avss="aavs-tiny-all-oracle-s3407")
    assert not (tmp_path / "out").exists()


def test_bare_checkpoints_serve_in_an_empty_folder(workspace, moving, tmp_path):
    runs = workspace.root / "runs"
    for task, run in (("avs", "aavs-tiny-all-none-s3407"), ("avss", "aavs-tiny-all-oracle-s3407")):
        shutil.copy(runs / task / run / "model.safetensors", tmp_path / f"{task}.safetensors")
    files = {task: str(tmp_path / f"{task}.safetensors") for task in ("avs", "avss")}
    content = draw(Workspace(tmp_path / "none"), moving, tmp_path / "out", **files).content
    assert {model["encoder"] for model in content["models"].values()} == {"logmel"}
    with pytest.raises(AvsctlError, match="of task avs, not avss"):
        draw(Workspace(tmp_path / "none"), moving, tmp_path / "two", avs=files["avs"], avss=files["avs"])


def test_an_encoder_without_its_weights_is_asked_for(workspace, workspace_copy, moving, tmp_path):
    root = workspace_copy(workspace.root)
    record = root / "runs/avs/aavs-tiny-all-none-s3407/record.json"
    content = json.loads(record.read_text())
    content["data"]["encoder"] = "vggish"
    record.write_text(json.dumps(content))
    with pytest.raises(AvsctlError, match="hears vggish.*--audio-weights"):
        draw(Workspace(root), moving, tmp_path / "out")
    with pytest.raises(AvsctlError, match="is no file.*--audio-weights"):
        draw(Workspace(root), moving, tmp_path / "out", audio_weights=tmp_path / "none.pth")


def test_windows_of_sound_are_centred_and_stay_inside():
    windows = SoundWindows(np.zeros((10 * RATE, 1), np.float32), RATE, 10.0)
    np.testing.assert_allclose(windows.starts(np.array([0, 0.25, 0.5, 4.0, 9.75])), [0, 0, 0, 3.5, 9.0])
    assert SoundWindows(None, 1, 0.4).starts(np.array([0.3])).tolist() == [0.0]


def test_windows_are_embedded_as_the_sound_around_each_frame():
    encode = encoder("logmel")
    wave = np.random.default_rng(1).normal(0, 0.1, (8 * RATE, 2)).astype(np.float32)
    wave *= np.linspace(0, 1, len(wave))[:, None]
    times = np.array([0.0, 3.3, 3.55, 7.9])
    got = SoundWindows(wave, RATE, 8.0).embed(encode, times)
    for row, start in zip(got, (0.0, 2.8, 3.05, 7.0), strict=True):
        first = round(start * RATE)
        np.testing.assert_allclose(row, encode.encode(wave[first : first + RATE], RATE, 1)[0], atol=1e-6)


def test_sound_is_silence_after_its_track_has_ended():
    encode = encoder("logmel")
    wave = np.random.default_rng(1).normal(0, 0.1, (2 * 44100, 1)).astype(np.float32)
    got = SoundWindows(wave, 44100, 8.0).embed(encode, np.array([1.0, 5.0, 6.0]))
    silence = encode.encode(np.zeros(RATE), RATE, 1)[0]
    assert abs(got[0] - silence).max() > 0.1
    np.testing.assert_array_equal(got[1:], [silence, silence])


def test_intervals_end_where_the_next_frame_without_the_class_begins():
    timeline = Timeline(["background", "dog", "cat"], np.zeros((3, 3), np.uint8))
    dog, cat = Presence(1, 0.2, 0.5), Presence(2, 0.1, 0.75)
    for time, entries in ((0.0, [dog]), (0.25, [dog, cat]), (0.5, []), (1.0, [cat])):
        timeline.add(time, entries)
    found = timeline.classes(1.3)
    assert found["dog"]["intervals"] == [[0.0, 0.5]]
    assert found["cat"]["intervals"] == [[0.25, 0.5], [1.0, 1.3]]
    assert found["cat"]["seconds"] == pytest.approx(0.55)
    assert summary(found) == "sounded: cat 0.2-0.5 s, 1.0-1.3 s; dog 0.0-0.5 s"


def test_specks_are_not_listed():
    maps = torch.zeros(1, 3, 112, 112)
    maps[:, 0] = 0.5
    maps[0, 1, :1, :5] = 1.0
    maps[0, 2, -10:] = 1.0
    ((entry,),) = presences(maps)
    assert (entry.index, entry.area) == (2, pytest.approx(10 / 112))


def test_a_stretch_keeps_the_videos_own_clock(workspace, moving, tmp_path, bright_and_loud):
    content = draw(workspace, moving, tmp_path / "out", start=0.6, end=1.6).content
    assert (content["video"]["start"], content["video"]["end"], content["video"]["frames_shown"]) == (0.6, 1.6, 20)
    assert [frame["time"] for frame in content["frames"]] == pytest.approx([0.6, 0.75, 1.0, 1.25, 1.5])
    ((start, end),) = next(iter(content["classes"].values()))["intervals"]
    assert 0.75 <= start <= 1.25 and end == pytest.approx(1.6)
    overlay = open_video(tmp_path / "out/moving-overlay.mp4")
    assert overlay.duration == pytest.approx(1.0, abs=0.06)
    (heard, rate, _), (given, _, _) = read_audio(overlay), read_audio(moving)
    part = given[round(0.6 * rate) :][: len(heard), 0]
    assert np.corrcoef(heard[: len(part), 0], part)[0, 1] > 0.95
    with pytest.raises(AvsctlError, match="nothing from --start"):
        draw(workspace, moving, tmp_path / "two", start=2.5)
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("only", "endings"),
    [("stills", ["-masks", "-sheet.png", "-timeline.png", ".json"]), ("video", ["-overlay.mp4", ".json"])],
)
def test_only_what_is_asked_for_is_made(workspace, moving, tmp_path, bright_and_loud, only, endings):
    content = draw(workspace, moving, tmp_path / "out", only=only).content
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"moving{ending}" for ending in endings]
    assert [frame["mask"] is None for frame in content["frames"]] == [only == "video"] * 8
    assert content["classes"] and content["video"]["frames_lost"] == 0


def test_classes_that_are_not_asked_for_are_left_out_everywhere(workspace, moving, tmp_path, bright_and_loud):
    names = list(Workspace(workspace.root).find_run("avss").record["classes"])
    shown = draw(workspace, moving, tmp_path / "shown", classes=(names[CLASS], names[5])).content
    assert list(shown["classes"]) == [names[CLASS]]
    hidden = draw(workspace, moving, tmp_path / "hidden", classes=(names[5],)).content
    assert hidden["classes"] == {} and not any(frame["classes"] for frame in hidden["frames"])
    assert not any(read_index(path).any() for path in (tmp_path / "hidden/moving-masks").iterdir())
    with pytest.raises(AvsctlError, match=f"No class {names[5]}x .* {names[5]}"):
        draw(workspace, moving, tmp_path / "none", classes=(f"{names[5]}x",))


def test_the_transparent_overlay_is_opaque_where_something_sounds(workspace, moving, tmp_path, bright_and_loud):
    result = draw(workspace, moving, tmp_path / "out", transparent=True, alpha=1.0)
    assert tmp_path / "out/moving-overlay.webm" in result.files
    with av.open(str(tmp_path / "out/moving-overlay.webm")) as container:
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        packets = [packet for packet in container.demux(video=0) if packet.size]
        alphas = [frame.to_ndarray(format="rgba")[..., 3] for packet in packets for frame in decoder.decode(packet)]
    assert len(alphas) == 40
    assert alphas[3].max() <= 8  # nothing is heard yet
    assert alphas[34][26, 38:54].min() > 240 and alphas[34][44:, :20].max() <= 8


def test_a_comparison_shows_each_run_in_its_column_in_the_same_colour(workspace, moving, tmp_path, bright_and_loud):
    runs = ("both=aavs-tiny-all-oracle-s3407", "aavs-tiny-all-none-s3407")
    runs = (runs[0], str(workspace.run_folder("avss", runs[1])), f"where={workspace.run_folder('avs', runs[1])}")
    result = draw(workspace, moving, tmp_path / "out", compare=runs)
    names = ["moving-compare.mp4", "moving-compare-sheet.png", "moving-compare-timeline.png", "moving-compare.json"]
    assert [path.name for path in result.files] == names
    assert contents(tmp_path / "out") == sorted(names)
    content = result.content
    assert content["format"] == "avsctl-comparison"
    assert [run["label"] for run in content["runs"]] == ["both", "aavs-tiny-all-none-s3407", "where"]
    assert [list(run["models"].values()).count(None) for run in content["runs"]] == [0, 1, 1]
    first, second, third = (next(iter(run["classes"].items())) for run in content["runs"])
    assert first == second and third[0] == SOUNDING[1]
    assert third[1]["colour"] != first[1]["colour"] and third[1]["intervals"] == first[1]["intervals"]
    with_prior = [prior is not None for task, prior in bright_and_loud if task == "avss"]
    assert with_prior == [True, False]
    assert [task for task, _ in bright_and_loud].count("avs") == 2, "as the prior of all columns, and for its own"
    video = open_video(tmp_path / "out/moving-compare.mp4")
    assert video.width > 4 * 280 and video.has_audio and video.duration == pytest.approx(2.0, abs=0.06)


def test_comparisons_that_make_no_sense_are_refused(workspace, moving, tmp_path):
    run = str(workspace.run_folder("avss", "aavs-tiny-all-none-s3407"))
    for options, says in (
        ({"compare": (run, run)}, "Two columns would be called"),
        ({"compare": ("x=",)}, "LABEL=RUN"),
        ({"compare": ("unknown",)}, "No run named unknown"),
        ({"compare": (run,), "avss": run}, "instead of --avss"),
        ({"compare": (run,), "transparent": True}, "leave out --compare"),
        ({"only": "stills", "transparent": True}, "--only stills"),
        ({"start": 2.0, "end": 1.0}, "not after --start"),
    ):
        with pytest.raises(AvsctlError, match=says):
            draw(workspace, moving, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_models_for_several_frames_get_frames_a_second_apart(workspace, moving, tmp_path, monkeypatch):
    seen = []

    def maps(model, frames, audio, prior=None, *, lengths=None, size=224, precision="fp32"):
        seen.append((frames.float().mean((1, 2, 3)).tolist(), lengths))
        return torch.ones(len(frames), model.num_classes, size, size)

    monkeypatch.setattr(visualize_models, "class_maps", maps)
    frames = [np.full((32, 48, 3), 30 * n, np.uint8) for n in range(8)]
    video = make_video(tmp_path / "steps.mp4", frames, [n / 4 for n in range(8)])
    draw(workspace, video, tmp_path / "out")
    brightness, lengths = seen[0]
    assert lengths == [2, 2, 2, 2]
    assert brightness == pytest.approx([0, 120, 30, 150, 60, 180, 90, 210], abs=6)


@pytest.mark.parametrize("model", ["tpavi", "avsegformer"])
def test_every_model_draws_and_stands_beside_others(
    tiny_workspace, workspace_copy, train_tiny, moving, tmp_path, model
):
    root = workspace_copy(tiny_workspace)
    runs = {task: train_tiny(root, task, model=model, **options) for task, options in (
        ("avs", {}), ("avss", {"prior": "oracle"})
    )}  # fmt: skip
    alone = draw(Workspace(root), moving, tmp_path / "alone", avs=runs["avs"].name, avss=runs["avss"].name)
    assert alone.content["models"]["avss"]["name"].startswith(model)
    assert len(alone.content["frames"]) == 8
    other = str(next((root / "runs" / "avs").glob("aavs-*")))
    compare = (f"theirs={runs['avss']}", f"where={runs['avs']}", f"ours={other}")
    content = draw(Workspace(root), moving, tmp_path / "beside", compare=compare, only="stills").content
    assert [run["label"] for run in content["runs"]] == ["theirs", "where", "ours"]
