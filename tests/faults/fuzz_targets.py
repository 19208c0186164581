"""Which file is mutated how, and which command then reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fuzz_binary
import fuzz_bytes
import fuzz_text
import numpy as np
from fuzz_base import RUNS

Mutator = Callable[[np.random.Generator, Path], None]


@dataclass(frozen=True)
class Target:
    """A file, as a pattern below the case's folder, and the commands that read it: one is drawn for each mutant."""

    pattern: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of file: its targets, and what can happen to it besides what can happen to any file."""

    targets: tuple[Target, ...]
    own: tuple[Mutator, ...]

    def draw(self, rng: np.random.Generator) -> tuple[Target, str, Mutator]:
        """A target, one of its commands, and a mutator; half of them are particular to the kind."""
        target = self.targets[int(rng.integers(len(self.targets)))]
        command = target.commands[int(rng.integers(len(target.commands)))]
        pool = self.own if self.own and rng.random() < 0.55 else fuzz_bytes.ANY
        return target, command, pool[int(rng.integers(len(pool)))]


READ = (
    "prepare avsbench --root {root} -w new --workers 0",
    "prepare avsbench --root {root} -w new --workers 0 --check",
    "prepare avsbench --root {root} -w new --workers 0 --skip-broken",
)
SEMANTIC = tuple(words.format(root="semantic") for words in READ)
OBJECT = tuple(words.format(root="object") for words in READ)
OWN = tuple(words.replace("avsbench --root {root}", "folder own") for words in READ)
TRAIN = "--device cpu --preset tiny --image-size 64 --epochs 1 --max-steps 1 --batch-clips 1 -w ws"
MASKS = (
    "predict-priors --from-masks masks -w ws --workers 0",
    "evaluate --predictions masks -w ws",
    "evaluate --predictions masks -w ws --task avs --size label",
)
SCORE = "evaluate -w ws --device cpu --task avs"
DRAW = "visualize --split test --clips 1 -w ws --device cpu"
WATCH = "visualize video.mp4 -w ws --device cpu --fps 1"
IMPORT = "import-weights weights/released{} --out new.safetensors"
AVS, AVSS = (f"ws/runs/{task}/{name}" for task, name in RUNS.items())
STATUS = ("status -w ws", "status -w ws --json")
START = f"train-avs --seed 1 {TRAIN} --init-from "
CLIPS = (
    *STATUS,
    "extract-audio -w ws --overwrite --workers 0",
    SCORE,
    DRAW,
    f"train-avs --seed 1 {TRAIN}",
    MASKS[0],
    MASKS[1],
    "predict-priors -w ws --device cpu --overwrite",
    f"train-avss --seed 1 --prior predicted {TRAIN}",
    "predict-priors --level low -w ws --workers 0",
    "evaluate -w ws --device cpu --task avss --prior oracle --audio noise",
)

KINDS = {
    "jpg": Kind(
        (Target("semantic/v1m/*/frames/*.jpg", SEMANTIC), Target("own/*/frames/*.jpg", OWN)), fuzz_bytes.OWN["jpg"]
    ),
    "png": Kind(
        (
            Target("semantic/v1m/*/labels_rgb/*.png", SEMANTIC),
            Target("own/*/labels/*.png", OWN),
            Target("object/*/*/gt_masks/**/*.png", OBJECT),
            Target("object/*/*/visual_frames/**/*.png", OBJECT),
            Target("masks/v1m/*/*.png", MASKS),
        ),
        fuzz_bytes.OWN["png"],
    ),
    "wav": Kind((Target("semantic/v1m/*/audio.wav", SEMANTIC), Target("own/*/audio.wav", OWN)), fuzz_bytes.OWN["wav"]),
    "mp4": Kind((Target("video.mp4", (WATCH,)),), fuzz_bytes.OWN["mp4"]),
    "csv": Kind(
        (
            Target("semantic/metadata.csv", SEMANTIC),
            Target("own/clips.csv", OWN),
            Target("object/*/*.csv", OBJECT),
        ),
        fuzz_text.CSV,
    ),
    "json": Kind(
        (
            Target("semantic/label2idx.json", SEMANTIC),
            Target("own/classes.json", OWN),
            Target("weights/released.json", (IMPORT.format(".safetensors"),)),
            Target(f"{AVS}/record.json", (*STATUS, SCORE, WATCH, "predict-priors -w ws --device cpu --overwrite")),
            Target(f"{AVS}/config.json", (*STATUS, SCORE, WATCH)),
            Target(f"{AVSS}/record.json", (*STATUS, WATCH, "evaluate -w ws --device cpu --task avss")),
            Target("ws/reports/test/*.json", STATUS),
        ),
        fuzz_text.JSON,
    ),
    "h5": Kind(
        (
            Target("ws/clips.h5", CLIPS),
            Target(
                "ws/audio.h5", (*STATUS, SCORE, DRAW, f"train-avs --seed 1 {TRAIN}", "extract-audio -w ws --workers 0")
            ),
            Target(
                "ws/priors/predicted.h5",
                (
                    *STATUS,
                    f"train-avss --seed 1 --prior predicted {TRAIN}",
                    "predict-priors -w ws --device cpu",
                    "evaluate -w ws --device cpu --task avss",
                    "evaluate -w ws --device cpu --prior ws/priors/predicted.h5",
                ),
            ),
        ),
        fuzz_binary.H5,
    ),
    "safetensors": Kind(
        (
            Target(f"{AVS}/model.safetensors", (SCORE, WATCH, START + f"{AVS}/model.safetensors", STATUS[0])),
            Target(f"{AVSS}/model.safetensors", (WATCH, "evaluate -w ws --device cpu --task avss")),
            Target(
                "weights/released.safetensors", (IMPORT.format(".safetensors"), START + "weights/released.safetensors")
            ),
            Target("last.safetensors", (f"train-avs --config {AVS}/config.json --resume -w ws --device cpu",)),
        ),
        fuzz_binary.SAFETENSORS,
    ),
    "pth": Kind(
        (
            Target(
                "weights/released.pth",
                (
                    IMPORT.format(".pth"),
                    IMPORT.format(".pth"),
                    START + "weights/released.pth",
                    "extract-audio -w ws --overwrite --workers 0 --encoder vggish --weights weights/released.pth",
                    "visualize video.mp4 -w ws --device cpu --avs weights/released.pth",
                    f"train-avs --seed 1 {TRAIN} --backbone-weights weights/released.pth",
                ),
            ),
        ),
        fuzz_binary.PTH,
    ),
    "pkl": Kind((Target("object/*/*/audio_log_mel/**/*.pkl", OBJECT),), fuzz_binary.PKL),
    "config": Kind(
        (
            Target("configs/train.json", ("train-avs --config configs/train.json -w ws",)),
            Target("configs/train.toml", ("train-avs --config configs/train.toml -w ws",)),
            Target("configs/evaluate.json", ("evaluate --config configs/evaluate.json -w ws --device cpu",)),
        ),
        (),
    ),
}
OPTIONS = {".json": fuzz_text.OPTIONS, ".toml": fuzz_text.TOML}
