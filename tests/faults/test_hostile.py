"""Attacks by files of strangers, each tried on the command that reads such a file."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import pickle
import resource
import shutil
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from avsctl.cli import cli
from avsctl.cli._console import run_guarded
from avsctl.rendering.container import FORMATS, open_container

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


@pytest.fixture
def avsctl(monkeypatch, capfd, tmp_path):
    """Run a command in an empty folder; it must end in exit code 2 with one line, which is returned."""
    monkeypatch.delenv("AVSBENCH_ROOT", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def refused(*words):
        monkeypatch.setattr(sys, "argv", ["avsctl", *map(str, words)])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        code = run_guarded(cli)
        err = capfd.readouterr().err
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, len(lines)) == (2, 1), err
        assert "Traceback" not in err and "fault in avsctl" not in err
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000  # KB
        return lines[0]

    return refused


@pytest.fixture
def own(tmp_path):
    """One clip in the neutral layout."""
    root = tmp_path / "own"
    for name in ("frames", "labels"):
        (root / "one" / name).mkdir(parents=True)
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(root / "one/frames/0.jpg")
    Image.fromarray(np.ones((12, 16), np.uint8)).save(root / "one/labels/0.png")
    soundfile.write(root / "one/audio.wav", np.zeros(1600), 16000)
    (root / "classes.json").write_text('["background", "kettle"]')
    _table(root)
    return root


def _table(root, **cells):
    row = {"uid": "one", "split": "train", "subset": "home", "labelled_frames": "all", **cells}
    text = io.StringIO()
    csv.writer(text).writerows([row.keys(), row.values()])
    (root / "clips.csv").write_text(text.getvalue(), encoding="utf-8")


OUT = ("../one", "/etc", "..", "C:\\one", "a/../../one", "one\0", "\x1b[2Jone", "\u202eeno", "x" * 300)


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("column", ["uid", "subset"])
def test_a_name_that_leads_out_of_the_dataset_is_refused(avsctl, own, column, name):
    _table(own, **{column: name})
    line = avsctl("prepare", "folder", own, "--workers", 0)
    assert f"{column} " in line and "line 2" in line and line.isprintable()


@pytest.mark.parametrize("name", ["one/frames/0.jpg", "one/labels/0.png", "one/audio.wav", "one/frames", "one"])
def test_a_link_out_of_the_dataset_is_refused_and_one_inside_is_not(avsctl, own, tmp_path, name, monkeypatch, capfd):
    path, secret = own / name, tmp_path / "secret"
    path.rename(secret)
    path.symlink_to(secret)
    assert "leads out of the dataset's folder" in avsctl("prepare", "folder", own, "--workers", 0)
    secret.rename(own / "inside")
    path.unlink()
    path.symlink_to(own / "inside")
    monkeypatch.setattr(sys, "argv", ["avsctl", "prepare", "folder", str(own), "--workers", "0"])
    assert run_guarded(cli) == 0, capfd.readouterr().err


@pytest.mark.parametrize("name", ["one/frames/0.jpg", "one/audio.wav", "classes.json", "clips.csv"])
def test_pipes_devices_and_circles_are_not_waited_for(avsctl, own, name):
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path.name)):
        (own / name).unlink()
        make(own / name)
        avsctl("prepare", "folder", own, "--workers", 0)


def test_a_frame_number_without_end_takes_no_memory(avsctl, own):
    (own / "one/frames/0.jpg").rename(own / "one/frames/2000000000.jpg")
    assert "3,600 frames are the limit" in avsctl("prepare", "folder", own, "--workers", 0)


def _png(width, height, body=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def test_a_picture_bomb_is_refused_undecoded_and_the_limit_can_be_set(avsctl, own, monkeypatch):
    (own / "one/frames/0.jpg").write_bytes(_png(60_000, 60_000))
    assert "--max-pixels" in avsctl("prepare", "folder", own, "--workers", 0)
    (own / "one/frames/0.jpg").write_bytes(_png(16, 12, bytes(36)))
    assert "100 pixels, the limit" in avsctl("prepare", "folder", own, "--workers", 0, "--max-pixels", 100)
    assert "AVSCTL_MAX_PIXELS" not in os.environ


@pytest.mark.parametrize("data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg width='9'/>", b"GIF89a"])
def test_formats_that_run_programs_are_not_opened(avsctl, own, data):
    (own / "one/frames/0.jpg").write_bytes(data)
    assert "is no JPEG or PNG picture" in avsctl("prepare", "folder", own, "--workers", 0)


def test_hours_of_packed_silence_are_refused_undecoded(avsctl, own):
    with soundfile.SoundFile(own / "one/audio.wav", "w", 48000, 2, format="FLAC", subtype="PCM_16") as file:
        for _ in range(12):
            file.write(np.zeros((48000 * 60, 2), np.int16))
    assert "64,000,000 are the limit" in avsctl("prepare", "folder", own, "--workers", 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
        ("s.mp4", b"ffconcat version 1.0\nfile secret.mp4\n"),
        ("concat:secret.mp4|secret.mp4", b""),
    ],
)
def test_a_video_that_names_other_files_does_not_open_them(avsctl, tmp_path, name, content):
    shutil.copy(_video(tmp_path / "v.mp4"), "secret.mp4")
    if content:
        Path(name).write_bytes(content)
    avsctl("visualize", name)
    assert not {"hls", "concat", "dash", "image2", "lavfi", "sdp", "rtsp"} & set(FORMATS)
    with open_container(Path("secret.mp4")) as container:
        assert container.streams.video


def test_a_video_of_huge_frames_or_length_is_refused_before_it_is_decoded(avsctl, tmp_path, monkeypatch):
    video = _video(tmp_path / "v.mp4")
    assert "limit is 100" in avsctl("visualize", video, "--max-pixels", 100)
    data = bytearray(video.read_bytes())
    place = data.index(b"stts") + 16
    data[place : place + 4] = struct.pack(">I", 2**31 - 1)
    video.write_bytes(bytes(data))
    assert "the limit is 3600 s" in avsctl("visualize", video)


def _video(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_command_that_is_to_be_typed_quotes_the_name(avsctl, tmp_path):
    video = _video(tmp_path / "v; touch owned.mp4")
    assert f"-i '{video}'" in avsctl("visualize", video, "--max-pixels", 100)


class _Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _weights(kind, path):
    if kind == "program":
        torch.save({"w": torch.zeros(2), "x": _Call(os.system, "touch owned")}, path)
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps(_Call(os.system, "touch owned")))
    elif kind == "terabytes":
        torch.save({"w": torch.zeros(1).expand(2**20, 2**20)}, path)
    elif kind == "sparse":
        torch.save({"w": torch.zeros(4, 4).to_sparse()}, path)
    elif kind == "tar":
        path.write_bytes(b"../../owned" + bytes(1013))
    elif kind == "zip":
        torch.save({"w": torch.zeros(4)}, path)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in parts.items():
                archive.writestr(name, data + bytes(2**28 if "data/" in name else 0))
    return path


@pytest.mark.parametrize("kind", ["program", "bare pickle", "terabytes", "sparse", "tar", "zip"])
def test_weights_give_tensors_or_nothing(avsctl, kind):
    _weights(kind, Path("w.pth"))
    assert "w.pth" in avsctl("import-weights", "w.pth", "--out", "new.safetensors")
    assert sorted(path.name for path in Path().iterdir()) == ["w.pth"]


HEAD = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2**31) + b"{}",
        b"[" * 200_000,
        json.dumps({"w": {**HEAD["w"], "shape": [2**40], "data_offsets": [0, 2**42]}}).encode(),
        json.dumps({"__metadata__": {"avsctl_model": "[" * 200_000}, **HEAD}).encode(),
        json.dumps({"__metadata__": {"avsctl_model": "{}"}, **HEAD}).encode(),
    ],
)
def test_a_safetensors_head_that_lies_is_refused(avsctl, data):
    head = data if data[:1] not in (b"[", b"{") else struct.pack("<Q", len(data)) + data
    Path("m.safetensors").write_bytes(head + bytes(8))
    assert "m.safetensors" in avsctl("import-weights", "m.safetensors", "--out", "new.safetensors")


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("hidden_dim", 65_536, "numbers, but holds"),
        ("hidden_dim", 10**9, "must be from 0 to"),
        ("decoder_layers", 10**6, "must be from 0 to 128"),
        ("image_size", 60_000, "must be from 1 to 4,096"),
        ("heads", "3", "no int"),
        ("backbone", "hf-hub:stranger/model", "knows no network"),
        ("backbone", "local-dir:/etc", "knows no network"),
        ("backbone_options", {"checkpoint_path": "/etc/passwd"}, "checkpoint_path"),
        ("backbone_options", {"pretrained_cfg": {"url": "http://localhost"}}, "pretrained_cfg"),
    ],
)
def test_a_described_model_is_of_ours_and_no_larger_than_its_file(avsctl, setting, value, says):
    from safetensors.torch import save_file

    from avsctl_models import create_model

    spec = create_model("aavs", preset="tiny", task="avs").spec
    spec = {**spec, "settings": {**spec["settings"], setting: value}}
    save_file({"w": torch.zeros(2)}, "m.safetensors", metadata={"avsctl_model": json.dumps(spec)})
    shutil.copy(_video(Path("v.mp4")), "w.mp4")
    assert says in avsctl("visualize", "v.mp4", "--avs", "m.safetensors")


def test_a_list_of_shards_names_files_of_its_folder_only(avsctl):
    folder = Path("model")
    folder.mkdir()
    (folder / "loop").symlink_to(".")
    for shard in ("..", "loop", "/etc/passwd", "../x.safetensors"):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
        assert "outside its folder" in avsctl("import-weights", folder, "--out", "new.safetensors")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("c.json", "[" * 100_000, "too deep"),
        ("c.toml", "lr = " + "[" * 100_000, "c.toml"),
        ("c.json", '{"lr": NaN}', "NaN"),
        ("c.toml", "lr = nan", "finite"),
        ("c.json", '{"lr": [1]}', "lr can't be"),
        ("c.json", '{"epochs": ' + "9" * 4000 + "}", "too many digits"),
        ("c.json", '{"epochs": ' + "9" * 9000 + "}", "not readable JSON"),
        ("c.json", '{"init_from": "a\\u0000b"}', "can't be printed"),
        ("c.json", '{"\\u001b[2J": 1}', "does not know"),
        ("c.json", '{"augment": "yes"}', "true or false"),
        ("c.json", '{"command": {"a": 1}}', "holds options of"),
    ],
)
def test_options_in_a_file_are_checked_as_typed_ones(avsctl, name, text, says):
    Path(name).write_text(text)
    line = avsctl("train-avs", "--config", name)
    assert says in line and line.isprintable()


@pytest.mark.parametrize("option", ["--lr", "--weight-decay", "--warmup"])
def test_a_number_is_finite(avsctl, option):
    for value in ("nan", "inf"):
        assert option in avsctl("train-avs", option, value)


SHELLS = {"subprocess", "pty", "commands"}
PROGRAMS = {"os.system", "os.popen", "os.startfile", "os.posix_spawn", "os.execv", "os.execvp", "os.spawnv"}
RUNNERS = {"eval", "exec", "compile", "pickle.load", "pickle.loads", "joblib.load"}
ENDINGS = {name.rpartition(".")[2] for name in PROGRAMS | RUNNERS}


def _faults_of(node):
    """What in a line of code starts a program or runs what a file says."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] in SHELLS]
    if isinstance(node, ast.ImportFrom):
        return [node.module] if (node.module or "").split(".")[0] in SHELLS else []
    if not isinstance(node, ast.Call) or getattr(node.func, "id", getattr(node.func, "attr", "")) not in ENDINGS:
        return [] if not isinstance(node, ast.Call) else [word.arg for word in node.keywords if word.arg == "shell"]
    name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
    found = [name] if name in PROGRAMS | RUNNERS else []
    found += [name] if name == "torch.load" and given.get("weights_only") != "True" else []
    return found + ([name] if name == "np.load" and given.get("allow_pickle") != "False" else [])


def test_no_module_starts_a_program_or_runs_what_a_file_says():
    modules = [*ROOT.glob("avsctl/**/*.py"), *ROOT.glob("avsctl_models/**/*.py")]
    assert len(modules) > 100
    found = {
        (path.name, fault)
        for path in modules
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for fault in _faults_of(node)
    }
    assert not found
    assert _faults_of(ast.parse("import subprocess").body[0]) and _faults_of(ast.parse("os.system(x)").body[0].value)


def test_output_stays_in_the_workspace_whatever_a_cache_calls_its_clips(
    avsctl, tiny_workspace, workspace_copy, tmp_path
):
    root = workspace_copy(tiny_workspace)
    with h5py.File(root / "clips.h5", "r+") as file:
        uids = file["clips/uid"][...]
        del file["clips/uid"]
        file["clips/uid"] = np.array([b"../../../owned", *uids[1:]])
    masks = tmp_path / "masks"
    masks.mkdir()
    for words in (
        ("visualize", "--split", "all", "--device", "cpu"),
        ("predict-priors", "--level", "low", "--workers", "0", "--export-png", "png"),
        ("predict-priors", "--from-masks", masks, "--workers", "0"),
        ("evaluate", "--predictions", masks),
        ("evaluate", "--device", "cpu"),
    ):
        assert "no clip's name" in avsctl(*words, "-w", root)
    assert not list(tmp_path.rglob("owned*"))


@pytest.mark.parametrize("damage", ["class", "frame", "kind"])
def test_training_names_the_clip_whose_label_or_frame_can_not_be_used(avsctl, tiny_workspace, tmp_path, damage):
    from avsctl.caches.clips import ClipCache, ClipRecord, assemble_clips
    from avsctl.stages.extract_audio import extract_audio

    cache = ClipCache(tiny_workspace / "clips.h5")
    records = []
    for clip, uid in enumerate(cache.uids):
        labels, frames = cache.label_bytes(clip), cache.frame_bytes(clip)
        if clip == cache.select(split="train")[0]:
            buffer = io.BytesIO()
            mode = {"class": np.full((64, 64), 200, np.uint8), "kind": np.zeros((64, 64, 3), np.uint8)}
            Image.fromarray(mode.get(damage, np.zeros((64, 64), np.uint8))).save(buffer, "PNG")
            labels = [buffer.getvalue(), *labels[1:]]
            frames = [frames[0][:200] if damage == "frame" else frames[0], *frames[1:]]
        names = (uid, cache.videos[clip], cache.subsets[clip], cache.splits[clip])
        records.append(ClipRecord(*names, frames, labels, cache.audio_bytes(clip)).arrays())
    root = tmp_path / "ws"
    settings = {"classes": cache.classes, "palette": cache.palette, "label_kind": "semantic", "options": {}}
    assemble_clips(root / "clips.h5", lambda: records, **settings)
    extract_audio(root / "clips.h5", root / "audio.h5", workers=0)
    words = ("--preset", "tiny", "--image-size", 64, "--epochs", 1, "--batch-clips", 1, "--device", "cpu")
    line = avsctl("train-avs", *words, "-w", root)
    says = {"class": "class index 200", "frame": "cut off", "kind": "pixels of kind RGB"}[damage]
    assert cache.uids[cache.select(split="train")[0]] in line and says in line
