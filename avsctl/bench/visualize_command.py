"""`visualize` as a user runs it, against decoding the video and the float32 peer's maps: nothing drawn or written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from avsctl.bench.harness import Result, Settings, in_turn, require_equal
from avsctl.bench.inference import TARGETS, peer_maps
from avsctl.bench.models import PAPER, Pair, check_same_function, make_batch, make_trained_pair
from avsctl.inference import decide
from avsctl.rendering.sound import read_audio
from avsctl.rendering.video import open_video, read_frames
from avsctl.rendering.video_writer import VideoWriter
from avsctl.stages.visualize_look import CLIP
from avsctl.stages.visualize_models import MAP_SIZE, SOUNDING, shrink
from avsctl.stages.visualize_options import VideoOptions
from avsctl.stages.visualize_sound import SoundWindows
from avsctl.stages.visualize_video import visualize_video
from avsctl.workspace import Workspace
from avsctl_models import save_model
from avsctl_models.audio.encoders import encoder

SIZE = (640, 360)
STEP = 6
"""Frames of the video for each that the models see."""
RATE = 16_000
SAME_AREA = 0.01
"""Largest difference, in float32, of the share of a picture that is said to sound."""


def run(settings: Settings, preset: str = PAPER) -> list[Result]:
    """Time the command with a stage 1 in float32, and in bf16 where that is native."""
    pair = make_trained_pair("tiny" if settings.quick else preset)
    # Areas alone would not do: of random weights masks are empty, or full.
    checked = check_same_function(pair, make_batch(CLIP, pair.model.image_size))
    pair.model.eval()
    pair.peer.eval()
    model = str(save_model(pair.model, settings.scratch / "model.safetensors"))
    video = draw_video(settings.scratch / "video.mp4", seconds=2 if settings.quick else 5)
    plain = _Plain(pair, video)
    precisions = ["fp32", "bf16"] if settings.native_bf16 else ["fp32"]
    return [_compare(settings, _Ours(settings.scratch, model, video, p), plain, p, checked) for p in precisions]


def draw_video(path: Path, seconds: int) -> Path:
    """A disc that hums while it crosses noise."""
    rng, fps = np.random.default_rng(0), STEP * VideoOptions.fps
    noise = rng.integers(96, 160, (SIZE[1], SIZE[0], 3), np.uint8)
    rows, columns = np.ogrid[: SIZE[1], : SIZE[0]]
    hum = np.sin(2 * np.pi * 220 * np.arange(seconds * RATE) / RATE).astype(np.float32) / 4
    with VideoWriter(path, SIZE, fps, audio=(hum, RATE)) as writer:
        for number in range(int(seconds * fps)):
            middle = SIZE[0] * number / (seconds * fps)
            disc = (rows - SIZE[1] / 2) ** 2 + (columns - middle) ** 2 < 80**2
            writer.write(np.where(disc[..., None], np.array([224, 64, 32], np.uint8), noise))
    return path


@dataclass(frozen=True)
class _Ours:
    """The command's step; each call writes into a new folder, for it does the same work only once."""

    scratch: Path
    model: str
    video: Path
    precision: str
    calls: count = field(default_factory=count)

    def areas(self) -> np.ndarray:
        """The share that sounds of every frame seen."""
        folder = self.scratch / f"drawn-{self.precision}-{next(self.calls)}"
        options: dict[str, Any] = {"avs": self.model, "device": "cpu", "precision": self.precision}
        content = visualize_video(Workspace(self.scratch), self.video, out=folder, **options).content
        found = ({entry["name"]: entry["area"] for entry in frame["classes"]} for frame in content["frames"])
        return np.array([entries.get(SOUNDING[1], 0.0) for entries in found])


@dataclass(frozen=True)
class _Plain:
    """Decodes the video, and lets the peer see and hear the same frames in clips of five."""

    pair: Pair
    video: Path

    def areas(self) -> np.ndarray:
        """As `_Ours.areas`."""
        info, side = open_video(self.video), self.pair.model.image_size
        seen = [
            (seconds, shrink(frame, [side])[side]) for seconds, frame in islice(read_frames(info), None, None, STEP)
        ]
        frames = torch.from_numpy(np.stack([frame for _, frame in seen])).permute(0, 3, 1, 2).contiguous()
        wave, rate, _ = read_audio(info) or (None, RATE, 0.0)
        windows = SoundWindows(wave, rate, info.duration)
        audio = torch.from_numpy(windows.embed(encoder("logmel"), np.array([seconds for seconds, _ in seen])))
        areas = []
        for part, heard in zip(frames.split(CLIP), audio.split(CLIP), strict=True):
            batch = replace(make_batch(len(part), side), frames=part, audio=heard)
            maps = F.interpolate(peer_maps(self.pair, batch)(), size=(MAP_SIZE, MAP_SIZE), mode="area")
            areas.append((decide(maps) == 1).float().mean((1, 2)))
        return torch.cat(areas).numpy()


def _compare(settings: Settings, ours: _Ours, plain: _Plain, precision: str, network: str) -> Result:
    mine, theirs = ours.areas(), plain.areas()
    require_equal(len(mine) == len(theirs), f"the number of frames seen, {len(mine)} and {len(theirs)}")
    largest = float(np.abs(mine - theirs).max())
    if precision == "fp32":
        require_equal(largest <= SAME_AREA, f"the areas that sound, by up to {100 * largest:.1f} % of a picture")
    ours_s, peer_s = in_turn(ours.areas, plain.areas, settings.rounds(2, 1))
    about = "the video decoded, Mask2Former of transformers in float32 on the frames seen; nothing drawn or written"
    checked = f"{network}; {len(mine)} frames, areas that sound equal within {100 * largest:.2f} % of a picture"
    return Result(
        f"inference-visualize-{precision}", ours_s, peer_s, TARGETS[precision], "frames", len(mine), about, checked
    )
