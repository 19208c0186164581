"""The sound files that are mutated: tiny datasets in three layouts, masks, a workspace with runs, weights, a video."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from avsctl.caches.clips import ClipCache
from avsctl.configs import resolve_training
from avsctl.data.layouts import open_dataset
from avsctl.data.synthetic.generate import generate
from avsctl.stages.evaluate import evaluate
from avsctl.stages.evaluation_plan import EvaluateConfig
from avsctl.stages.extract_audio import extract_audio
from avsctl.stages.predict_priors import predict_priors, route_runs
from avsctl.stages.prepare import prepare
from avsctl.stages.train import train
from avsctl.workspace import Workspace

DATA = Path(__file__).parents[1] / "data"
COUNTS = {("v1m", split): 1 for split in ("train", "val", "test")}
RUNS = {"avs": "aavs-tiny-all-none-s3407", "avss": "aavs-tiny-all-oracle-s3407"}
RATE = 16000


def make_base(folder: Path) -> Path:
    """Make everything in an empty folder; a few seconds of training are the most of it."""
    generate(folder / "semantic", clips=COUNTS, size=64)
    _object_clips(folder / "object")
    _own_clips(folder / "own")
    _workspace(folder / "ws", folder / "semantic")
    _masks(folder / "masks", ClipCache(folder / "ws/clips.h5"))
    _weights(folder / "weights")
    _configs(folder / "configs")
    _video(folder / "video.mp4")
    return folder


def _object_clips(root: Path) -> None:
    shutil.copytree(DATA / "mini_avsbench/object", root)
    masks = root / "Single-source/s4_data/gt_masks/val/helicopter/fffffffffff"
    shutil.copy(masks / "fffffffffff_1.png", masks / "fffffffffff_2.png")  # which is no mask, for another test


def _own_clips(root: Path) -> None:
    rng = np.random.default_rng(0)
    for uid in ("kettle_1", "cat_7"):
        for name in ("frames", "labels"):
            (root / uid / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).save(root / uid / f"frames/{number}.jpg")
            Image.fromarray(rng.integers(0, 3, (12, 16), np.uint8)).save(root / uid / f"labels/{number}.png")
        soundfile.write(root / uid / "audio.wav", np.sin(np.arange(RATE) / 9) / 4, RATE, subtype="FLOAT")
    (root / "classes.json").write_text(json.dumps(["background", "kettle", "cat"]))
    (root / "clips.csv").write_text("uid,split,subset,labelled_frames\nkettle_1,train,home,all\ncat_7,test,home,0 1\n")


def _workspace(root: Path, dataset: Path) -> None:
    workspace = Workspace(root)
    prepare(open_dataset(dataset), workspace.clips, workers=0)
    extract_audio(workspace.clips, workspace.audio, workers=0)
    given = {"image_size": 64, "epochs": 1, "max_steps": 1, "batch_clips": 1}
    for task, extra in (("avs", {}), ("avss", {"prior": "oracle"})):
        train(workspace, resolve_training(task, "tiny", "all", {**given, **extra}), device="cpu")
    predict_priors(workspace, route_runs(workspace, run=None, subset="all", split="all"), device="cpu")
    evaluate(workspace, EvaluateConfig(device="cpu"))


def _masks(root: Path, clips: ClipCache) -> None:
    rng = np.random.default_rng(1)
    for clip, uid in enumerate(clips.uids):
        (root / "v1m" / uid).mkdir(parents=True)
        for frame in range(clips.frame_count(clip)):
            mask = rng.integers(0, 2, (32, 32), np.uint8) * 60  # a grey value for avs, a class index for avss
            Image.fromarray(mask).save(root / "v1m" / uid / f"{frame}.png")


def _weights(root: Path) -> None:
    root.mkdir()
    golden = DATA / "golden/aavs"
    shutil.copy(golden / "stage1_tiny.safetensors", root / "released.safetensors")
    shutil.copy(golden / "stage1_tiny.json", root / "released.json")
    torch.save({"state_dict": load_file(root / "released.safetensors")}, root / "released.pth")


def _configs(root: Path) -> None:
    root.mkdir()
    options = {
        "command": "train-avs",
        "preset": "tiny",
        "image_size": 64,
        "epochs": 1,
        "max_steps": 1,
        "batch_clips": 1,
        "lr": 0.001,
        "warmup": 0.05,
        "augment": False,
        "shuffle": True,
        "subset": "all",
        "seed": 7,
        "device": "cpu",
        "without": ["masked-attention"],
        "schedule": "scratch",
        "init_from": None,
        "clip_norm": 1.0,
    }
    (root / "train.json").write_text(json.dumps(options))
    lines = (f"{name} = {json.dumps(value)}" for name, value in options.items() if value is not None)
    (root / "train.toml").write_text("\n".join(lines) + "\n")
    evaluate_options = {"command": "evaluate", "split": "val", "seed": 1, "audio": "shift:1", "task": "avs"}
    (root / "evaluate.json").write_text(json.dumps(evaluate_options))


def _video(path: Path) -> None:
    rng = np.random.default_rng(2)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=4)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=RATE)
        sound.layout = "mono"
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 4)
            container.mux(pictures.encode(frame))
        wave = np.sin(np.arange(2 * RATE) / 7).astype(np.float32)[None] / 4
        for start in range(0, wave.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1024]), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
            container.mux(sound.encode(frame))
        _flush(container, (pictures, sound))


def _flush(container, streams: Iterable) -> None:
    for stream in streams:
        container.mux(stream.encode(None))
